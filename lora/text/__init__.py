"""Text and tokens: tokenizers, chat templates, the files to train on, and text as it is generated."""
