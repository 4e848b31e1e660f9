"""Side-by-side measurements of tinytorch, NumPy, PyTorch and JAX, in one run."""
