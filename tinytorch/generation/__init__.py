"""Text from a model, token by token: drawing, the loop, its cache. `import tinytorch` leaves it out."""
