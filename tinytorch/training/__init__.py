"""A training run: the loop, batches, checkpoints, metrics. `import tinytorch` leaves it out."""
