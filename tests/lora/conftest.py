from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

import tinytorch
from lora.model.config import LlamaConfig
from lora.model.llama import Llama
from lora.model.training_record import remember
from lora.text.bpe import save_bpe, train_bpe
from tinytorch.training.corpora import load_documents


@pytest.fixture(scope="session")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a byte-level BPE with a chat template, as `lora pretrain` writes it."""
    folder = tmp_path_factory.mktemp("byte-level")
    save_bpe(train_bpe(load_documents("pydoc")[:3], 400), folder, context=64)
    return folder


@pytest.fixture(scope="session")
def sentencepiece_style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a BPE in the style of Llama 2: spaces as "▁", unknown characters as bytes "<0xNN>"."""
    folder = tmp_path_factory.mktemp("sentencepiece-style")
    prepare = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trained = tokenizers.Tokenizer(models.BPE())
    trained.normalizer = prepare
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>", *[f"<0x{byte:02X}>" for byte in range(256)]]
    trained.train_from_iterator(
        load_documents("pydoc")[:3], trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    )
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    tokenizer = tokenizers.Tokenizer(
        models.BPE(model["vocab"], merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = prepare
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    template = (
        "{{ bos_token }}{% for m in messages %}\n"
        "    {% if m.role == 'user' %}[INST] {{ m.content }} [/INST]\n"
        "    {% else %}{{ m.content }}{{ eos_token }}{% endif %}\n"
        "{% endfor %}\n"
    )
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": {"__type": "AddedToken", "content": "<s>", "normalized": False},
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "clean_up_tokenization_spaces": False,
        "chat_template": template,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="session")
def small_llama() -> Llama:
    """A Llama of random weights, large enough that what it says changes with what it has seen."""
    tinytorch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    return Llama(shape).eval()


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory: pytest.TempPathFactory, small_llama: Llama, byte_level: Path) -> Path:
    """`small_llama` with the byte-level tokenizer, as a checkpoint's folder."""
    folder = tmp_path_factory.mktemp("small-llama")
    small_llama.save_pretrained(folder)
    for file in byte_level.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    remember(folder, {"chat_template": False})
    return folder
