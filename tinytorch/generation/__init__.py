"""Text from a model, token by token: how the next is drawn, and the cache of keys and values. `import tinytorch` leaves
it out."""
