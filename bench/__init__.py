"""Measurements side by side: ours against NumPy, PyTorch and JAX, in one run."""
