"""What stands behind `compiler.py` and `threads.py`. Nobody needs it to write a kernel."""
