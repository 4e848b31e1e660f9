"""Keys of config.json that Llama lacks: harmless ones, and those that change what other model families compute.

If these were ignored, a model of another family that calls itself "llama" would load and compute something else.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from tinytorch.cli.errors import UserError
from tinytorch.cli.reading import one_line

# Keys that no version of transformers uses to compute a Llama's logits.
HARMLESS = {
    # whose the file is
    "_name_or_path", "name_or_path", "_commit_hash", "transformers_version", "auto_map", "finetuning_task",
    "task_specific_params", "id2label", "label2id", "num_labels", "problem_type", "tokenizer_class", "prefix",
    "transformers.js_config", "is_llama_config", "unsloth_version", "unsloth_fixed", "model_max_length",
    "max_sequence_length", "tokenizer_model_max_length", "tokenizer_padding_side", "vocab_size_or_config_json_file",
    # tokens
    "bos_token_id", "eos_token_id", "sep_token_id", "decoder_start_token_id",
    # how something is computed, not what
    "use_cache", "pretraining_tp", "gradient_checkpointing", "attn_implementation", "_attn_implementation",
    "_attn_implementation_autoset", "_attn_implementation_internal", "_experts_implementation",
    "_experts_implementation_internal", "_flash_attn_2_enabled", "use_flash_attn", "use_flash_attention",
    "flash_attention", "torchscript", "tf_legacy_loss", "use_bfloat16", "chunk_size_feed_forward",
    "output_attentions", "output_hidden_states", "output_past", "return_dict", "remove_invalid_values",
    # training
    "initializer_factor", "max_window_layers", "router_aux_loss_coef", "output_router_logits",
    # encoders and decoders
    "is_decoder", "is_encoder_decoder", "tie_encoder_decoder", "add_cross_attention", "cross_attention_hidden_size",
    # generation, in files from old versions
    "max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty",
    "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "output_scores",
    "return_dict_in_generate", "forced_bos_token_id", "forced_eos_token_id", "exponential_decay_length_penalty",
    "suppress_tokens", "begin_suppress_tokens",
    # read elsewhere
    "architectures", "model_type", "hidden_act", "torch_dtype", "dtype", "rope_parameters", "quantization_config",
}  # fmt: skip

Given = Mapping[str, Any]


def _is_one_of(*neutral: Any) -> Callable[[Any, Given], bool]:
    return lambda value, _: value is None or any(value == each and type(value) is not str for each in neutral)


def _sliding_window(value: Any, given: Given) -> bool:
    off = given.get("use_sliding_window") is False
    return off or _is_one_of(0, False)(value, given) or _is_at_least(value, given.get("max_position_embeddings", 2048))


def _is_at_least(value: Any, least: Any) -> bool:
    return isinstance(value, int) and isinstance(least, int) and value >= least


def _all(neutral: Any) -> Callable[[Any, Given], bool]:
    return lambda value, _: not value or (isinstance(value, list) and all(each == neutral for each in value))


def _head_dim(power: float) -> Callable[[Any, Given], bool]:
    def is_neutral(value: Any, given: Given) -> bool:
        size = given.get("head_dim") or int(given["hidden_size"]) // int(given["num_attention_heads"])
        return value is None or (isinstance(value, (int, float)) and abs(value / size**power - 1) < 1e-6)

    return is_neutral


_OFF = _is_one_of(False, 0)
_ONE = _is_one_of(1)
_ABSENT = _is_one_of()
# Settings that other families use, and the values with which they change nothing.
MATTERS: dict[str, Callable[[Any, Given], bool]] = {
    # Granite, MiniCPM, Cohere, muP
    "embedding_multiplier": _ONE, "residual_multiplier": _ONE, "logits_scaling": _ONE, "logit_scale": _ONE,
    "attention_multiplier": _head_dim(-0.5), "scale_emb": _ONE, "scale_depth": _ABSENT, "dim_model_base": _ABSENT,
    "embedding_scale": _ONE, "mup_width_scale": _ONE, "lm_head_multiplier": _ONE, "key_multiplier": _ONE,
    "attention_in_multiplier": _ONE, "attention_out_multiplier": _ONE, "mlp_multipliers": _all(1),
    # SmolLM3, Llama 4
    "no_rope_layers": _all(1), "no_rope_layer_interval": _OFF, "attention_chunk_size": _ABSENT, "use_qk_norm": _OFF,
    "attn_temperature_tuning": _OFF, "qk_norm": _OFF, "use_qk_layernorm": _OFF,
    # Mistral, Qwen, Gemma
    "sliding_window": _sliding_window, "use_sliding_window": _OFF, "layer_types": _all("full_attention"),
    "sliding_window_pattern": _is_one_of(0, 1), "attn_logit_softcapping": _ABSENT, "final_logit_softcapping": _ABSENT,
    "query_pre_attn_scalar": _head_dim(1), "hidden_activation": lambda value, _: value in (None, "silu", "swish"),
    "use_bidirectional_attention": _OFF, "is_causal": _is_one_of(True),
    # others
    "partial_rotary_factor": _ONE, "rotary_pct": _ONE, "rope_interleaved": _OFF, "rope_interleave": _OFF,
    "alibi": _OFF, "parallel_attn": _OFF, "use_parallel_residual": _OFF, "clip_qkv": _ABSENT,
    "num_local_experts": _is_one_of(0, 1), "num_experts": _is_one_of(0, 1), "n_routed_experts": _is_one_of(0, 1),
    "pruned_heads": lambda value, _: not value, "compression_config": _ABSENT, "quantization": _ABSENT,
}  # fmt: skip


def check_foreign(given: Given, own: set[str]) -> None:
    """UserError for a setting that changes what another family computes; a warning names unknown ones."""
    for name, is_neutral in MATTERS.items():
        if name in given and not is_neutral(given[name], given):
            raise UserError(
                f"{name} is {json.dumps(given[name])}: Llamas have no such setting, so this model is of another "
                "family; remove it only if the model was trained without it"
            )
    unknown = sorted(given.keys() - own - HARMLESS - MATTERS.keys())
    if unknown:
        warnings.warn(one_line(f"config.json has settings that are passed over: {', '.join(unknown)}"), stacklevel=2)
