"""Attention: `attention` is what Python calls, `forward`, `backward` and `decode` are its kernels."""
