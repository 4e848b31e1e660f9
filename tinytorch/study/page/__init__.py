"""Pages to step through a trace in a browser: `python -m tinytorch.study attention -o attention.html`."""
