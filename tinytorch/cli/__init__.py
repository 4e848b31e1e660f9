"""What a command line needs: options, errors of one line, how a program ends. `import tinytorch` leaves it out."""
