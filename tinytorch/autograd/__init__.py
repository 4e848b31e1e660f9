"""Derivatives: `backward`, `grad`, functions with a user-written derivative, and tools to inspect them."""

from ..derivatives import backward, grad
from ..grad_mode import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from ..gradcheck import (
    GradcheckError,
    GradcheckInputError,
    KinkError,
    KinkWarning,
    gradcheck,
    gradcheck_numpy,
    gradgradcheck,
    numeric_gradient,
    numeric_jacobian,
)
from . import functional, graph
from .anomaly import detect_anomaly, is_anomaly_enabled, set_detect_anomaly
from .function import Function
from .unfolding import unfold

__all__ = [
    "Function", "backward", "functional", "grad", "graph", "unfold",
    "detect_anomaly", "is_anomaly_enabled", "set_detect_anomaly",
    "GradcheckError", "GradcheckInputError", "KinkError", "KinkWarning", "gradcheck", "gradcheck_numpy",
    "gradgradcheck", "numeric_gradient", "numeric_jacobian",
    "enable_grad", "is_grad_enabled", "no_grad", "set_grad_enabled",
]  # fmt: skip
