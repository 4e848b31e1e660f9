"""Layers, losses and containers, with PyTorch's names and defaults."""

from . import functional, init, utils
from .activation import GELU, Dropout, LeakyReLU, LogSoftmax, ReLU, Sigmoid, SiLU, Softmax, Softplus, Tanh
from .container import ModuleDict, ModuleList, Sequential
from .linear import Embedding, Flatten, Identity, Linear
from .loss import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss, NLLLoss
from .module import Module
from .normalization import BatchNorm1d, LayerNorm, RMSNorm
from .parameter import Parameter

__all__ = [
    # bases and containers
    "Module", "Parameter", "Sequential", "ModuleList", "ModuleDict",
    # layers
    "Linear", "Embedding", "Identity", "Flatten", "Dropout", "LayerNorm", "RMSNorm", "BatchNorm1d",
    # activations
    "ReLU", "LeakyReLU", "GELU", "SiLU", "Sigmoid", "Tanh", "Softplus", "Softmax", "LogSoftmax",
    # losses
    "CrossEntropyLoss", "NLLLoss", "MSELoss", "BCEWithLogitsLoss",
    # modules
    "functional", "init", "utils",
]  # fmt: skip
