"""Loops over NumPy arrays, compiled by Numba. Nothing here knows what a Tensor is.

Kernels of one file each   activation, arithmetic, embedding, loss, normalization, optim, rope, softmax
and of a folder            gemm, attention, stored: their public functions are in the file of the folder's name
What kernels are made of   compiler, threads, launch, memory; math, simd, bounds
What stands behind these   machinery: the cache of compiled code, the pool of threads
"""
