"""The operations. One class each: forward, derivation, backward; beside it the public function with PyTorch's signature."""
