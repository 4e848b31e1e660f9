"""What stands behind `compiler.py` and `threads.py`. Writing a kernel takes none of it."""
