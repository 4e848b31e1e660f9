"""A character-level GPT on tinytorch: the lecture's stages, a production model, a trainer, a sampler."""
