"""A Llama: its configuration, its layers, its folder, and the tokens that it goes on with."""
