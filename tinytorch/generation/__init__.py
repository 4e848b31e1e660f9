"""Generation token by token: sampling, the loop, the KV cache. `import tinytorch` does not import it."""
