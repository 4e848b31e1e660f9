"""What a command line needs: options, one-line errors, exit codes. `import tinytorch` does not import it."""
