"""Options' names in other tools (PEFT, TRL, transformers, mlx-lm), and what to use here instead."""

from __future__ import annotations

from collections.abc import Sequence

from tinytorch.cli.errors import UserError

_EPOCHS = "--max-iters, which counts steps: an epoch is the number of examples / (--batch-size x --grad-accum)"
_DTYPE = "nothing: weights stay as they are stored, and sums are float32"
_MEDIUM = f"{_DTYPE}; --precision medium multiplies in bfloat16"
_BITS = "a quantized folder: python -m lora quantize --model DIR --out DIR4 --scheme nf4 (or int8), then --model DIR4"
_ALWAYS = "nothing: of prompts and of what the user says nothing is ever learned"

_MODEL = {
    "--model-name-or-path": "--model", "--model-name": "--model", "--model-path": "--model", "--base-model": "--model",
    "--pretrained-model-name-or-path": "--model",
    "--load-in-4bit": _BITS, "--load-in-8bit": _BITS, "--bnb-4bit-quant-type": _BITS, "--qlora": _BITS,
    "--bf16": _DTYPE, "--fp16": _DTYPE, "--dtype": _DTYPE, "--torch-dtype": _DTYPE,
}  # fmt: skip

_ADAPTER = {"--adapter-path": "--adapter", "--peft-model": "--adapter", "--lora-path": "--adapter"}

_TRAIN = {
    **_MODEL,
    "--bf16": _MEDIUM, "--fp16": _MEDIUM,
    "--lr": "--learning-rate",
    "--r": "--rank", "--lora-r": "--rank", "--lora-rank": "--rank",
    "--lora-alpha": "--alpha", "--scale": "--alpha, which is divided by the rank",
    "--lora-dropout": "--dropout",
    "--target-modules": "--targets", "--lora-target-modules": "--targets", "--lora-target": "--targets",
    "--num-layers": "--targets: all layers of these names are adapted", "--lora-layers": "--targets",
    "--use-dora": "--dora", "--use-rslora": "--rslora", "--fine-tune-type": "--dora, or nothing for LoRA",
    "--use-peft": "nothing: an adapter is what is trained",
    "--epochs": _EPOCHS, "--num-epochs": _EPOCHS, "--num-train-epochs": _EPOCHS,
    "--max-steps": "--max-iters", "--iters": "--max-iters", "--steps": "--max-iters",
    "--gradient-accumulation-steps": "--grad-accum", "--grad-accumulation-steps": "--grad-accum",
    "--grad-accum-steps": "--grad-accum",
    "--per-device-train-batch-size": "--batch-size", "--train-batch-size": "--batch-size",
    "--per-device-eval-batch-size": "--batch-size", "--micro-batch-size": "--batch-size",
    "--max-length": "--max-tokens", "--max-seq-length": "--max-tokens", "--max-seq-len": "--max-tokens",
    "--cutoff-len": "--max-tokens", "--block-size": "--max-tokens",
    "--gradient-checkpointing": "--checkpointing", "--grad-checkpoint": "--checkpointing",
    "--warmup-steps": "--warmup-iters", "--warmup-ratio": "--warmup-iters, in steps", "--warmup": "--warmup-iters",
    "--lr-scheduler-type": "--min-lr: the schedule is a cosine; one equal to --learning-rate makes it constant",
    "--lr-schedule": "--min-lr: the schedule is a cosine; one equal to --learning-rate makes it constant",
    "--max-grad-norm": "--grad-clip",
    "--adam-beta1": "--beta1", "--adam-beta2": "--beta2",
    "--optim": "nothing: the optimizer is AdamW", "--optimizer": "nothing: the optimizer is AdamW",
    "--dataset": "--data", "--dataset-name": "--data", "--train-file": "--data", "--train-data": "--data",
    "--data-path": "--data",
    "--eval-file": "--val-data", "--validation-file": "--val-data", "--eval-data": "--val-data",
    "--valid-data": "--val-data",
    "--eval-steps": "--eval-interval", "--steps-per-eval": "--eval-interval", "--eval-strategy": "--eval-interval",
    "--val-batches": "--eval-iters",
    "--logging-steps": "nothing: metrics.jsonl has every step",
    "--steps-per-report": "nothing: metrics.jsonl has every step",
    "--report-to": "nothing: metrics.jsonl has every step",
    "--output-dir": "--out", "--output": "--out", "--adapter-path": "--out", "--save-path": "--out",
    "--resume-from-checkpoint": "--resume with the --out of the run",
    "--resume-adapter-file": "--resume with the --out of the run",
    "--train": "nothing: the command trains", "--do-train": "nothing: the command trains",
    "--test": "python -m lora eval", "--do-eval": "python -m lora eval",
    "--mask-prompt": _ALWAYS, "--completion-only-loss": _ALWAYS, "--assistant-only-loss": _ALWAYS,
    "--train-on-inputs": _ALWAYS,
}  # fmt: skip

_GENERATE = {
    **_MODEL,
    **_ADAPTER,
    "--lora": "--adapter",
    "--max-tokens": "--max-new-tokens", "--max-length": "--max-new-tokens", "--num-tokens": "--max-new-tokens",
    "--temp": "--temperature", "--repeat-penalty": "--repetition-penalty",
    "--do-sample": "nothing to draw, --greedy not to",
    "--system-prompt": "--system", "--system-message": "--system",
    "--ignore-chat-template": "--raw", "--no-chat-template": "--raw", "--use-default-chat-template": "nothing",
    "--interactive": "--chat", "--stop-strings": "--stop", "--extra-eos-token": "--stop",
    "--verbose": "--stats",
}  # fmt: skip

_OUT = {"--output-dir": "--out", "--output": "--out", "--save-path": "--out", "--mlx-path": "--out"}
_SCHEME = "--scheme, int8 or nf4"

FOREIGN = {
    "train": _TRAIN,
    "generate": _GENERATE,
    "eval": {**_MODEL, **_ADAPTER, "--dataset": "--data"},
    "merge": {**_MODEL, **_ADAPTER, **_OUT},
    "quantize": {
        **_OUT, "--hf-path": "--model", "--bits": _SCHEME, "--q-bits": _SCHEME, "--q-group-size": "--group-size",
    },
}  # fmt: skip


def refuse_foreign(arguments: Sequence[str]) -> None:
    """UserError for the first option that goes by another name here."""
    known = FOREIGN.get(arguments[0], {}) if arguments else {}
    for argument in arguments[1:]:
        name = argument.partition("=")[0]
        ours = known.get(name.replace("_", "-"))
        if ours is not None:
            raise UserError(f"{name} has another name here: give {ours} (python -m lora {arguments[0]} --help)")
