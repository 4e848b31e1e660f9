"""What the command lines `gpt` and `lora` share: texts, batches, checkpoints of a run, its metrics, errors."""
