"""The operations: one class each, with forward, derivation and backward; then functions with PyTorch's signatures."""
