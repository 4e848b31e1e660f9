"""Layers, losses and containers, with PyTorch's names and defaults."""

from . import functional, init, utils
from .activation import (
    ELU,
    GELU,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from .container import ModuleDict, ModuleList, Sequential
from .layers import (
    BatchNorm1d,
    Dropout,
    Embedding,
    Flatten,
    Identity,
    LayerNorm,
    Linear,
    RMSNorm,
)
from .loss import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from .module import Module
from .parameter import Parameter

__all__ = [
    # bases and containers
    "Module", "Parameter", "Sequential", "ModuleList", "ModuleDict",
    # layers
    "Linear", "Embedding", "Identity", "Flatten", "Dropout", "LayerNorm", "RMSNorm", "BatchNorm1d",
    # activations
    "ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "Sigmoid", "LogSigmoid", "Tanh", "Softplus", "Softmax", "LogSoftmax",
    # losses
    "CrossEntropyLoss", "NLLLoss", "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "KLDivLoss", "BCELoss",
    "BCEWithLogitsLoss",
    # modules
    "functional", "init", "utils",
]  # fmt: skip
