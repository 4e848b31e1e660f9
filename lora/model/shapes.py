"""The shapes of well-known Llamas, as their published config.json give them, under transformers' 4.x names."""

from __future__ import annotations

from typing import Any

_LLAMA = {"initializer_range": 0.02, "rms_norm_eps": 1e-5, "tie_word_embeddings": False}
_LLAMA_2 = {**_LLAMA, "vocab_size": 32000, "max_position_embeddings": 4096, "bos_token_id": 1, "eos_token_id": 2}
_LLAMA_3 = {
    **_LLAMA,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "num_key_value_heads": 8,
    "rope_theta": 500000.0,
    "bos_token_id": 128000,
    "eos_token_id": 128001,
}
_LONG = {
    "rope_type": "llama3",
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_LLAMA_3_1 = {**_LLAMA_3, "max_position_embeddings": 131072, "rope_scaling": {**_LONG, "factor": 8.0}}
_LLAMA_3_2 = {**_LLAMA_3_1, "rope_scaling": {**_LONG, "factor": 32.0}, "tie_word_embeddings": True}
_SMOLLM2 = {
    **_LLAMA,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "rope_theta": 100000.0,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


def _size(hidden: int, intermediate: int, layers: int, heads: int, key_value_heads: int) -> dict[str, int]:
    return {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
    }


SHAPES: dict[str, dict[str, Any]] = {
    "smollm2-135m": {**_SMOLLM2, **_size(576, 1536, 30, 9, 3), "initializer_range": 0.041666666666666664},
    "smollm2-360m": {**_SMOLLM2, **_size(960, 2560, 32, 15, 5)},
    "tinyllama-1.1b": {**_LLAMA_2, **_size(2048, 5632, 22, 32, 4), "max_position_embeddings": 2048},
    "llama-3.2-1b": {**_LLAMA_3_2, **_size(2048, 8192, 16, 32, 8)},
    "llama-3.2-3b": {**_LLAMA_3_2, **_size(3072, 8192, 28, 24, 8)},
    "llama-2-7b": {**_LLAMA_2, **_size(4096, 11008, 32, 32, 32)},
    "llama-3-8b": {**_LLAMA_3, **_size(4096, 14336, 32, 32, 8)},
    "llama-3.1-8b": {**_LLAMA_3_1, **_size(4096, 14336, 32, 32, 8)},
    "llama-2-13b": {**_LLAMA_2, **_size(5120, 13824, 40, 40, 40)},
    "llama-2-70b": {**_LLAMA_2, **_size(8192, 28672, 80, 64, 8)},
    "llama-3.1-70b": {**_LLAMA_3_1, **_size(8192, 28672, 80, 64, 8)},
}
