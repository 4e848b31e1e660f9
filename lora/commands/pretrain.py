"""Train a small Llama and its tokenizer on a text: how the model that ships with the project was made."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from lora.model.checkpoint import HEAD
from lora.model.config import LlamaConfig
from lora.model.llama import Llama
from lora.model.training_record import CHAT, remember
from lora.text.bpe import BEGIN_ID, END_ID, EOS_IDS, SPECIAL, save_bpe, train_bpe
from tinytorch import Tensor
from tinytorch.cli.command_line import INTERRUPTED
from tinytorch.cli.output import run_console
from tinytorch.nn import functional as F
from tinytorch.safetensors_shards import save_shards
from tinytorch.training import checkpoint
from tinytorch.training.corpora import load_documents
from tinytorch.training.folders import locked, new_folder
from tinytorch.training.run import Run, model_state
from tinytorch.training.settings import TrainSettings, check
from tinytorch.training.text_data import TextData
from tinytorch.training.trainer import train


@dataclass(frozen=True)
class PretrainConfig(TrainSettings):
    """Train a small Llama and its tokenizer on a text. The defaults make data/tiny-llama.

    Writes to the folder OUT, as `python -m gpt train` does: last.json and best.json with their weights,
    metrics.jsonl, loss.png (nats per token). At the end, OUT/model holds the model with the lowest validation loss,
    in bfloat16, as a checkpoint for all other commands and for transformers.

    Ctrl-C, SIGTERM and SIGHUP save the run and stop it (exit code 130). With --resume it continues, to the same
    bits as if it had never stopped.
    """

    out: Path = Path("runs/tiny-llama")
    """Folder of the run."""

    batch_size: int = 8
    """Sequences B in a batch; a batch holds B x T tokens."""

    max_iters: int = 640
    """Optimizer steps; the cosine schedule ends here."""

    learning_rate: float = 2e-3
    """Learning rate after warm-up."""

    min_lr: float = 2e-4
    """Learning rate at the end of the cosine; equal to learning-rate for a constant one."""

    warmup_iters: int = 40
    """Steps of linear warm-up."""

    eval_interval: int = 80
    """Steps between evaluations; each one also writes the checkpoints."""

    eval_iters: int = 16
    """Batches of each split in an evaluation; the same ones every time."""

    vocab_size: int = 1536
    """Vocabulary size V, special tokens included."""

    context: int = 256
    """Context length T, in tokens."""

    hidden_size: int = 128
    """Channels C of the residual stream."""

    intermediate_size: int = 352
    """Channels inside the feed-forward layers."""

    layers: int = 6
    """Number of decoder layers L."""

    heads: int = 4
    """Query heads H; must divide hidden-size."""

    kv_heads: int = 2
    """Heads of keys and values; must divide heads."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in SHAPE:
            check(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}: it must be at least 1")
        least = 256 + len(SPECIAL)
        check(self.vocab_size >= least, f"vocab_size is {self.vocab_size}: bytes and special tokens take {least}")
        check(
            self.hidden_size % self.heads == 0,
            f"hidden_size ({self.hidden_size}) is not a multiple of heads ({self.heads}): change one of them",
        )

    def fixed(self) -> dict[str, Any]:
        return {"seed": self.seed, **{name: getattr(self, name) for name in SHAPE}}


SHAPE = tuple(f.name for f in fields(PretrainConfig) if f.name not in {g.name for g in fields(TrainSettings)})


def pretrain(config: PretrainConfig) -> int:
    """Run the command and return its exit code."""
    with locked(config.out):
        run = PretrainRun.open(config)
        if train(run, run_console()).interrupted:
            return INTERRUPTED
        run.export()
    return 0


class PretrainRun(Run[PretrainConfig]):
    """A training run on the tokens of documents, each between a begin and an end token.

    The first token of every window is replaced by the one that begins a text, as every prompt begins with it.
    """

    config_class = PretrainConfig
    model: Llama

    def __init__(self, config: PretrainConfig) -> None:
        documents = load_documents(config.data)
        self.tokenizer = train_bpe(documents, config.vocab_size)
        encodings = self.tokenizer.encode_batch(documents)  # each begins with BEGIN
        self.tokens = np.array([id for e in encodings for id in (*e.ids, END_ID)], dtype=np.int32)
        data = TextData(config, self.tokens, config.context)
        super().__init__(config, "\n".join(documents), data, compiled=True)

    def build_model(self) -> Llama:
        config = self.config
        return Llama(
            LlamaConfig(
                vocab_size=self.tokenizer.get_vocab_size(),  # a short text may yield fewer than asked for
                hidden_size=config.hidden_size,
                intermediate_size=config.intermediate_size,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                num_key_value_heads=config.kv_heads,
                max_position_embeddings=config.context,
                rms_norm_eps=1e-5,
                tie_word_embeddings=True,
                other={"bos_token_id": BEGIN_ID, "eos_token_id": EOS_IDS},
            )
        )

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        inputs[:, 0] = BEGIN_ID
        logits = self.model(inputs)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))

    def describe(self) -> str:
        return (
            f"Llama of {sum(p.numel() for p in self.model.parameters()):,} parameters; {self.config.data}: "
            f"{len(self.tokens):,} tokens, {self.model.config.vocab_size} different; "
            f"writing to {self.config.out}"
        )

    def next_command(self) -> str:
        command = ["python", "-m", "lora", "generate", "--model", str(self.config.out / "model"), "--prompt", "The"]
        return f"let it write: {shlex.join(command)}"

    def export(self) -> None:
        """Write the best model, rounded to bfloat16, to OUT/model, with a record of its training."""
        tensors, values = checkpoint.load(self.config.out, "best")
        weights = {
            name: tensor.numpy().astype(ml_dtypes.bfloat16)
            for name, tensor in model_state(tensors).items()
            if name != HEAD  # the embedding
        }
        settings = {key: value for key, value in values["config"].items() if key not in ("out", "resume")}
        how = {
            "program": "python -m lora pretrain",
            CHAT: False,  # the tokenizer has a template, but the text was not a chat
            "settings": settings,
            "text_sha256": self.text_sha256,
            "python": values.get("python"),
            "iteration": values["iteration"],
            "validation_loss": values["best_val_loss"],
        }
        with new_folder(self.config.out / "model", replace=True) as folder:
            save_shards(weights, folder)
            save_bpe(self.tokenizer, folder, self.config.context)
            remember(folder, how)
            self.model.config.save(folder, "bfloat16")
