"""Loops over NumPy arrays, compiled by Numba. Nothing here knows what a Tensor is.

Kernels in one file each     activation, arithmetic, embedding, loss, normalization, optim, rope, softmax
Kernels in a folder each     gemm, attention, stored: the public functions are in the file that has the folder's name
What kernels are made of     compiler, threads, spread, launch; math, simd
What stands behind these     machinery: the cache of compiled code, the pool of threads
"""
