"""Continue a text, or hold a conversation."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

import tinytorch
from lora.commands.loading import bytes_read_a_token, load
from lora.commands.sampling_options import SamplingOptions
from lora.commands.speed import Speed, read_bandwidth
from lora.model.default_model import default_model
from lora.model.generation import stream
from lora.model.training_record import CHAT, recall
from lora.text.text_stream import TextStream
from lora.text.tokenizer import Tokenizer
from tinytorch.cli.errors import UserError
from tinytorch.training.stopping import StopSignal


@dataclass(frozen=True)
class GenerateConfig:
    """Answer a message with a Llama, continue a text, or hold a conversation. Text appears as it is drawn.

    If the adapter, or else the model, was trained on messages, the prompt is a message and goes through the
    tokenizer's chat template. Otherwise, or with --raw, it is a text to continue.

    Sampling settings that no option gives come from the model's generation_config.json (do_sample, temperature,
    top_k, top_p, min_p, repetition_penalty). If that has none, messages are answered with temperature 0.2 and
    top-p 0.9, and texts are continued with temperature 1, from all tokens.
    """

    model: Path = field(default_factory=default_model)
    """Folder of a checkpoint; the default is the model that ships with the project."""

    adapter: Path | None = None
    """Folder of an adapter for that model, as `python -m lora train` writes it."""

    tokenizer: Path | None = None
    """Folder of the tokenizer, if the model's folder has none."""

    prompt: str = ""
    """Message to answer, or text to continue; with --chat, the first message."""

    raw: bool = False
    """Continue the prompt as it is, without the chat template."""

    system: str = ""
    """System message that precedes the conversation."""

    chat: bool = False
    """Hold a conversation: Ctrl-C stops an answer, Ctrl-D ends."""

    max_new_tokens: int = 200
    """The most tokens to write, in each answer."""

    stop: tuple[str, ...] = ()
    """Strings that end the text; they are not shown."""

    sampling: Annotated[SamplingOptions, tyro.conf.arg(name="")] = field(default_factory=SamplingOptions)
    """How each token is drawn."""

    seed: int = 1337
    """Seed of the random draws."""

    stats: bool = False
    """Report the speed on stderr: tokens per second, and how much of the memory's bandwidth they use."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 0:
            raise UserError(f"max_new_tokens is {self.max_new_tokens}: it must not be negative")
        if self.raw and (self.chat or self.system):
            option = "--chat" if self.chat else "--system"
            raise UserError(f"{option} needs the chat template, which --raw leaves out: leave out one of the two")


def generate(config: GenerateConfig) -> int:
    """Run the command and return its exit code."""
    writer = Writer(config)
    if config.chat:
        _converse(writer, config.prompt)
    else:
        ids = writer.ids()
        _check_room(ids, writer.context)
        if not writer.chat:
            _show(config.prompt)
        for text in writer.write(ids):
            _show(text)
        _show("\n")
    if config.chat or config.stats:
        bandwidth = read_bandwidth() if config.stats else None
        print(writer.speed.report(writer.weight_bytes, bandwidth), file=sys.stderr)
    return 0


class Writer:
    """A model, its tokenizer and a random generator, which write text as the settings say."""

    def __init__(self, config: GenerateConfig) -> None:
        self.config = config
        self.model, self.tokenizer = load(config.model, config.tokenizer, config.adapter)
        # An empty prompt is no message to answer: the model writes a text of its own.
        asked = bool(config.prompt) and _takes_messages(config.model, config.adapter, self.tokenizer)
        self.chat = not config.raw and (config.chat or bool(config.system) or asked)
        self.sampling = config.sampling.over(config.model, self.chat)
        self.context = self.model.config.max_position_embeddings
        self.generator = tinytorch.Generator()
        self.generator.manual_seed(config.seed)
        self.speed = Speed()
        self.weight_bytes = bytes_read_a_token(self.model)
        self._cache = self.model.make_cache(1)
        self._cached: list[int] = []  # the tokens in the cache, and perhaps some more
        if config.stats:
            self._touch_everything()

    def system(self) -> list[dict[str, str]]:
        """The system message, if there is one."""
        return [{"role": "system", "content": self.config.system}] if self.config.system else []

    def ids(self) -> list[int]:
        """The ids of the prompt, in the chat template if it is a message."""
        prompt = self.config.prompt
        if not self.chat:
            return self.tokenizer.encode(prompt)
        return self.tokenizer.apply_chat_template(
            [*self.system(), {"role": "user", "content": prompt}], add_generation_prompt=True
        )

    def write(self, ids: list[int]) -> Iterator[str]:
        """Yield pieces of the text that follows `ids`. A prefix shared with the last call's is not computed again."""
        config, cache = self.config, self._cache
        shared = 0
        while shared < min(cache.length, len(ids) - 1) and ids[shared] == self._cached[shared]:
            shared += 1
        cache.length = shared
        self._cached = list(ids)
        text = TextStream(self.tokenizer, config.stop)
        steps = stream(
            self.model,
            tinytorch.tensor([ids]),
            min(config.max_new_tokens, self.context - len(ids)),
            self.sampling,
            eos_token_ids=self.tokenizer.eos_ids,
            generator=self.generator,
            cache=cache,
        )
        for (token,) in self.speed.timed(len(ids) - shared, steps):
            self._cached.append(int(token))
            yield text.push(int(token))
            if text.stopped:
                return
        yield text.flush()
        if len(self._cached) == self.context < len(ids) + config.max_new_tokens:
            print(f"(the context of {self.context} tokens is full)", file=sys.stderr)

    def _touch_everything(self) -> None:
        """Read the weights from disk and load the kernels beforehand, so that the measured speed leaves this out."""
        for ids in ([[0, 0]], [[0]]):  # a prompt, then the token after it
            self.model(ids, cache=self._cache, logits_to_keep=1)
        self._cache.length = 0


def _converse(writer: Writer, first: str) -> None:
    """Read messages from the keyboard and write answers to the terminal, until Ctrl-D. Ctrl-C stops an answer."""
    if sys.stdin.isatty():
        with contextlib.suppress(ImportError):  # not on every system; without it arrow keys and history do not work
            import readline  # noqa: F401

    messages = writer.system()
    while True:
        try:
            message = first or input("> ")
        except EOFError:
            _show("\n")
            return
        first = ""
        if not message.strip():
            continue
        messages.append({"role": "user", "content": message})
        ids = _fit(writer, messages)
        answer = ""
        with StopSignal(signal.SIGINT) as stop:
            for text in writer.write(ids):
                _show(text)
                answer += text
                if stop.requested:
                    break
        _show("\n")
        messages.append({"role": "assistant", "content": answer})


def _fit(writer: Writer, messages: list[dict[str, str]]) -> list[int]:
    """The ids of the messages, dropping the oldest if they leave no room for an answer."""
    kept = len(writer.system())
    while True:
        ids = writer.tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        if len(ids) < writer.context or len(messages) == kept + 1:
            _check_room(ids, writer.context)
            return ids
        del messages[kept : kept + 2]  # a message and its answer
        print(f"(forgetting the oldest message: the context is {writer.context} tokens)", file=sys.stderr)


def _check_room(ids: list[int], context: int) -> None:
    if not ids:
        raise UserError("the prompt is empty, and this tokenizer begins a text with no token: give --prompt")
    if len(ids) >= context:
        raise UserError(f"the prompt has {len(ids)} tokens, the model's context is {context}: shorten it")


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _takes_messages(model: Path, adapter: Path | None, tokenizer: Tokenizer) -> bool:
    """Whether a prompt goes through the chat template, as in the training of the adapter or else of the model.

    A model without a record counts as trained on messages if its tokenizer has a template.
    """
    for folder in (adapter, model):
        said = recall(folder).get(CHAT)
        if isinstance(said, bool):
            return said
    return tokenizer.has_chat_template
