"""The matrix product: `gemm` is what Python calls, `block` one thread's part, `tile` the registers' part."""
