"""A training run: the loop, batches, checkpoints, metrics. `import tinytorch` does not import it."""
