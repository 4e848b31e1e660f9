"""Backpropagation step by step, for whoever learns it: what ran, what each gradient is made of, what went wrong."""
