"""`torch.func`: transforms that make of a function another one, such as its gradient, Jacobian or Hessian.

They can be nested: grad(grad(f)) is the second derivative. Arguments are Tensors, or tuples, lists and dicts of them,
such as a model's parameters by name. A transform looks through a surrounding no_grad, but not through one inside f.

`transforms.py` is reverse mode, `forward.py` J times a vector, `mapping.py` vmap, `calling.py` a module as a function.
"""

from .calling import functional_call
from .forward import hessian, jacfwd, jvp, linearize
from .mapping import vmap
from .transforms import grad, grad_and_value, jacrev, vjp

__all__ = [
    "functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize", "vjp", "vmap",
]  # fmt: skip
