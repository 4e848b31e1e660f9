"""Pictures of where a trained model looks: `python -m gpt attend`."""
