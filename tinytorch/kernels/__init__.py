"""Loops over NumPy arrays, compiled by Numba. Nothing here knows what a Tensor is."""
