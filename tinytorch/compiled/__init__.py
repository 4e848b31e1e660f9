"""`compile`: record what a function does once, and replay it on other numbers."""
