"""Llama (Touvron et al. 2023, arXiv:2302.13971), with the names and the results of transformers' LlamaForCausalLM.

B batch, T time (new positions), S all positions so far, C hidden size, H heads, Hkv heads of keys and values,
D head size, I intermediate size, V vocabulary.

Every Linear is an attribute that `forward` calls, so a quantized or adapted layer can take its place by assignment to
the same name.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import tinytorch
import tinytorch.nn as nn
from lora.model.checkpoint import load, save
from lora.model.config import LlamaConfig
from lora.model.generation import generate
from lora.model.generation_config import end_ids
from lora.model.rope import tables
from tinytorch import Tensor
from tinytorch.generation.cache import Array, KVCache
from tinytorch.generation.sampling import Sampling
from tinytorch.nn import functional as F
from tinytorch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from lora.adapters.adapter_config import LoraConfig


class Linear(nn.Linear):
    """A Linear whose weight is drawn or loaded by the model, not by itself."""

    def reset_parameters(self) -> None:
        """Do nothing: memory that is never written to costs nothing."""


class Embedding(nn.Embedding):
    """An Embedding whose weight is drawn or loaded by the model, not by itself."""

    def reset_parameters(self) -> None:
        """Do nothing, as in Linear."""


class RMSNorm(nn.RMSNorm):
    """An RMSNorm that computes in the input's dtype, whatever dtype its weight is stored in."""

    weight: nn.Parameter

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight.to(input.dtype), self.eps)


class Context(NamedTuple):
    """What all layers need to know about the positions."""

    cos: Tensor  # (B or 1, T, D/2)
    sin: Tensor
    mask: Tensor | None  # broadcasts to (B, 1, T, S): added to the scores, or True where a query may attend
    cache: KVCache | None

    @property
    def is_causal(self) -> bool:
        return self.mask is None and self.cos.shape[1] > 1


class LlamaAttention(nn.Module):
    def __init__(self, config: LlamaConfig, layer: int) -> None:
        super().__init__()
        C, D, bias = config.hidden_size, config.head_dim, config.attention_bias
        self.layer, self.head_dim, self.dropout = layer, D, config.attention_dropout
        self.q_proj = Linear(C, config.num_attention_heads * D, bias)
        self.k_proj = Linear(C, config.num_key_value_heads * D, bias)
        self.v_proj = Linear(C, config.num_key_value_heads * D, bias)
        self.o_proj = Linear(config.num_attention_heads * D, C, bias)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        B, T, _ = x.shape
        q, k, v = (project(x).view(B, T, -1, self.head_dim) for project in (self.q_proj, self.k_proj, self.v_proj))
        q, k = (F.rope(each, context.cos, context.sin) for each in (q, k))  # (B, T, H, D), (B, T, Hkv, D)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (B, H, T, D), 2 x (B, Hkv, T, D)
        if context.cache is not None:
            k, v = context.cache.extend(self.layer, k, v)  # 2 x (B, Hkv, S, D)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(
            q, k, v, context.mask, dropout, is_causal=context.is_causal, enable_gqa=True
        )  # (B, H, T, D)
        return self.o_proj(y.transpose(1, 2).reshape(B, T, -1))  # heads side by side, then (B, T, C)


class LlamaMLP(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        C, I, bias = config.hidden_size, config.intermediate_size, config.mlp_bias  # noqa: E741 - as in the shapes
        self.gate_proj = Linear(C, I, bias)
        self.up_proj = Linear(C, I, bias)
        self.down_proj = Linear(I, C, bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.swiglu(self.gate_proj(x), self.up_proj(x)))  # (B, T, C) -> (B, T, I) -> (B, T, C)


class LlamaDecoderLayer(nn.Module):
    def __init__(self, config: LlamaConfig, layer: int) -> None:
        super().__init__()
        self.self_attn = LlamaAttention(config, layer)
        self.mlp = LlamaMLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), context)
        return x + self.mlp(self.post_attention_layernorm(x))  # (B, T, C)


class LlamaModel(nn.Module):
    """Everything but the head: ids (B, T) to hidden states (B, T, C)."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList([LlamaDecoderLayer(config, i) for i in range(config.num_hidden_layers)])
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.gradient_checkpointing = False  # recompute what backward needs instead of keeping it

    def forward(self, input_ids: Tensor, context: Context) -> Tensor:
        x = self.embed_tokens(input_ids).to(context.cos.dtype)  # (B, T, C)
        for layer in self.layers:
            x = checkpoint(layer, x, context) if self.gradient_checkpointing else layer(x, context)
        return self.norm(x)


class Llama(nn.Module):
    """A Llama with random, trainable weights in float32; `Llama.from_pretrained` loads one from a folder.

    `dtype` is the dtype it computes in, float32 or float64. Its weights may be stored in fewer bytes.
    """

    def __init__(self, config: LlamaConfig, *, initialize: bool = True) -> None:
        super().__init__()
        self.config = config
        self.peft_config: dict[str, LoraConfig] = {}  # the adapters' configurations by name: see lora.add_adapter
        self.generation_config: dict[str, Any] = {}  # from generation_config.json, if the folder had one
        self.model = LlamaModel(config)
        self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight
        if initialize:
            self._initialize()

    def _initialize(self) -> None:
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 2:
                nn.init.normal_(parameter, std=self.config.initializer_range)
        if self.config.pad_token_id is not None:
            nn.init.zeros_(self.model.embed_tokens.weight.data[self.config.pad_token_id])

    @property
    def dtype(self) -> Any:
        """The dtype it computes in: float64 if the embedding is in float64, else float32."""
        stored = self.model.embed_tokens.weight.dtype
        return stored if stored == tinytorch.float64 else tinytorch.float32

    def make_cache(self, batch: int, capacity: int = 256) -> KVCache:
        """An empty cache for `batch` sequences; beyond `capacity` positions it grows by doubling, which copies it."""
        config = self.config
        heads = config.num_key_value_heads
        return KVCache(config.num_hidden_layers, batch, heads, config.head_dim, capacity, self.dtype)

    def forward(
        self, input_ids: Any, attention_mask: Any = None, cache: KVCache | None = None, logits_to_keep: int = 0
    ) -> Tensor:
        """Ids (B, T) to logits (B, T, V), or to the last logits_to_keep positions' if that is not 0.

        attention_mask is 1 for tokens and 0 for padding, on either side; None if all are tokens. Positions count from a
        sequence's first token.

        With a cache (`make_cache`) the ids continue those that it holds: they attend to them and are added to it. The
        mask then covers all positions, (B, length + T), or is None if all new ones are tokens. Nothing is recorded for
        backward.

            cache = model.make_cache(batch=2, capacity=100)
            logits = model(prompts, attention_mask, cache, logits_to_keep=1)  # (2, T) to (2, 1, V)
            logits = model(next_ids, cache=cache)  # (2, 1) to (2, 1, V)
        """
        if cache is not None:
            with tinytorch.no_grad():
                hidden = self.hidden_states(input_ids, attention_mask, cache)
                return self.lm_head(hidden[:, -logits_to_keep:])
        return self.lm_head(self.hidden_states(input_ids, attention_mask)[:, -logits_to_keep:])

    def hidden_states(self, input_ids: Any, attention_mask: Any = None, cache: KVCache | None = None) -> Tensor:
        """The input of the head, (B, T, C); arguments as in `forward`."""
        ids = tinytorch.as_tensor(input_ids)
        if ids.ndim != 2:
            raise ValueError(f"input_ids have shape {tuple(ids.shape)}: expected (B, T)")
        seen = 0 if cache is None else cache.length
        if cache is not None and cache.batch != ids.shape[0]:
            raise ValueError(f"input_ids hold {ids.shape[0]} sequences, the cache {cache.batch}")
        is_token = None
        if attention_mask is not None:
            is_token = tinytorch.as_tensor(attention_mask).array != 0
            if is_token.shape != (ids.shape[0], seen + ids.shape[1]):
                expected = f"expected {(ids.shape[0], seen + ids.shape[1])}"
                raise ValueError(f"attention_mask has shape {is_token.shape}: {expected}, a number for each position")
        if cache is not None:
            is_token = cache.reserve(ids.shape[1], is_token)
        elif is_token is None:
            is_token = np.ones(ids.shape, np.bool_)
        hidden = self.model(ids, self._context(is_token, ids.shape[1], cache))
        if cache is not None:
            cache.length += ids.shape[1]
        return hidden

    def _context(self, is_token: Array, T: int, cache: KVCache | None) -> Context:
        """The context of the last T of all positions (B, S)."""
        S = is_token.shape[1]
        padded = not is_token.all()
        first = is_token.argmax(axis=1)[:, None] if padded else np.zeros((1, 1), np.int64)  # (B or 1, 1)
        config = self.config
        cos, sin = tables(
            np.arange(S - T, S) - first,  # (B or 1, T); negative in the padding on the left
            config.head_dim,
            config.rope_theta,
            config.rope_scaling,
            config.max_position_embeddings,
            self.dtype,
        )
        mask = None
        if padded or 1 < T < S:
            allowed = np.tri(T, S, S - T, np.bool_)  # (T, S): each query sees the keys up to itself
            if padded:
                # The lowest number, not -inf: padding that sees nothing then averages all values, as in transformers,
                # where the last padding on the left does predict the first token.
                lowest = np.finfo(self.dtype).min
                allowed = np.where(allowed & is_token[:, None, None], self.dtype.type(0), lowest)  # (B, 1, T, S)
            mask = Tensor(allowed)
        return Context(Tensor(cos), Tensor(sin), mask, cache)

    def loss(self, input_ids: Any, labels: Any, attention_mask: Any = None) -> Tensor:
        """Mean cross-entropy, in nats, of the logits at t against labels (B, T) at t + 1; -100 is ignored."""
        hidden = self.hidden_states(input_ids, attention_mask)[:, :-1]  # (B, T - 1, C)
        return self.loss_of(hidden, tinytorch.as_tensor(labels)[:, 1:])

    def loss_of(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The same from hidden states (B, T, C) and the tokens (B, T) that follow them."""
        hidden, targets = hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)
        counted = np.flatnonzero(targets.array != -100)
        if 0 < counted.size < targets.numel():  # the head is much of the work, so compute it only where a target counts
            hidden, targets = hidden[counted], targets[counted]
        return F.cross_entropy(self.lm_head(hidden), targets)

    def generate(self, input_ids: Any, max_new_tokens: int, attention_mask: Any = None, **settings: Any) -> Tensor:
        """Extend ids (B, T) to (B, T + N), N at most max_new_tokens; padding, where the mask is 0, is on the left.

        The settings are those of `tinytorch.generation.sampling.Sampling` (greedy, temperature, top_k, ...), and a
        `generator`. A row ends with one of the eos_token_id in generation_config.json, or, if that has none, in
        config.json, and is padded from there.
        """
        generator = settings.pop("generator", None)
        return generate(
            self,
            tinytorch.as_tensor(input_ids),
            max_new_tokens,
            Sampling(**settings),
            attention_mask=None if attention_mask is None else tinytorch.as_tensor(attention_mask),
            eos_token_ids=end_ids(self.generation_config) or self.config.eos_token_ids,
            pad_token_id=self.config.pad_token_id or 0,
            generator=generator,
        )

    def set_adapter(self, name: str) -> None:
        """Make another adapter the active one, and the only one that is trained. A merged adapter is unmerged."""
        from lora.adapters.attached import set_adapter

        set_adapter(self, name)

    def disable_adapter(self) -> AbstractContextManager[None]:
        """A context in which the model is the base alone, apart from trained biases."""
        from lora.adapters.attached import disable_adapter

        return disable_adapter(self)

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: str = "float32") -> Llama:
        """Load from a folder in Hugging Face's format (config.json, and model.safetensors or its shards).

        dtype "float32" and "float64" make trainable weights of that dtype. "auto" keeps them frozen, as stored, in the
        mapped file. UserError names what is wrong with the folder.
        """
        return load(cls, folder, dtype)

    def save_pretrained(self, folder: str | Path) -> None:
        """Save to a folder that `from_pretrained`, ours and transformers', can load."""
        save(self, folder)
