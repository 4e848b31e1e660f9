"""`compile`: what a function did once, recorded, and done again to other numbers."""
