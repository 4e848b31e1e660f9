"""Text and tokens: tokenizers, chat templates, training data, and the text of a stream of tokens."""
