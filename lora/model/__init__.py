"""Llama: its configuration, its layers, its files, and generation."""
