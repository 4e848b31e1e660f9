"""lora.commands.synthesize: random checkpoints in the shapes of real models."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lora.__main__ import main
from lora.commands.synthesize import DTYPES, SynthesizeConfig, shape_of, synthesize, weight_shapes, write
from lora.model.config import LlamaConfig
from lora.model.llama import Llama
from lora.model.shapes import SHAPES
from tinytorch.cli.errors import UserError
from tinytorch.safetensors import SafetensorError
from tinytorch.safetensors_shards import open_shards

CONFIG = LlamaConfig(
    vocab_size=50,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    initializer_range=0.05,
    other={"eos_token_id": 2},
)

# As their pages and papers count them.
PARAMETERS = {
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "tinyllama-1.1b": 1_100_048_384,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "llama-2-7b": 6_738_415_616,
    "llama-3-8b": 8_030_261_248,
    "llama-3.1-8b": 8_030_261_248,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-3.1-70b": 70_553_706_496,
}


@pytest.fixture
def like(tmp_path: Path) -> str:
    folder = tmp_path / "tiny"
    folder.mkdir()
    CONFIG.save(folder, "float32")
    return str(folder)


def options(like: str, **more: Any) -> SynthesizeConfig:
    return SynthesizeConfig(like=like, out=Path(like).parent / "out", **more)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_known_shapes_have_the_published_number_of_parameters() -> None:
    counts = {name: sum(int(np.prod(s)) for s in weight_shapes(shape_of(name)).values()) for name in SHAPES}
    assert counts == PARAMETERS


@pytest.mark.parametrize(
    ("family", "bos", "eos", "reach", "theta"),
    [
        ("smollm2", 0, 0, 8192, 100000.0),
        ("tinyllama", 1, 2, 2048, 10000.0),
        ("llama-2", 1, 2, 4096, 10000.0),
        ("llama-3-", 128000, 128001, 8192, 500000.0),
        ("llama-3.", 128000, 128001, 131072, 500000.0),
    ],
)
def test_known_shapes_have_the_published_ends_and_reach(
    family: str, bos: int, eos: int, reach: int, theta: float
) -> None:
    configs = [shape_of(name) for name in SHAPES if name.startswith(family)]
    assert configs
    for config in configs:
        assert (config.other["bos_token_id"], config.eos_token_ids) == (bos, (eos,))
        assert (config.max_position_embeddings, config.rope_theta, config.rms_norm_eps) == (reach, theta, 1e-5)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_weights_are_those_of_the_model(tied: bool, bias: bool) -> None:
    config = replace(CONFIG, tie_word_embeddings=tied, attention_bias=bias, mlp_bias=bias)
    state = {name: tuple(tensor.shape) for name, tensor in Llama(config).state_dict().items()}
    if tied:
        del state["lm_head.weight"]
    assert weight_shapes(config) == state


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_folder_loads(like: str, dtype: Any) -> None:
    wanted = options(like, dtype=dtype, max_shard_size="4KB")
    assert synthesize(wanted) == 0
    assert len(list(wanted.folder.glob("*.safetensors"))) > 3
    assert LlamaConfig.load(wanted.folder) == CONFIG
    assert json.loads((wanted.folder / "config.json").read_text())["torch_dtype"] == str(DTYPES[dtype])
    with open_shards(wanted.folder) as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    assert {name: array.shape for name, array in arrays.items()} == weight_shapes(CONFIG)
    for name, array in arrays.items():
        assert array.dtype == DTYPES[dtype]
        values = array.astype(np.float64)
        if name.endswith("norm.weight"):
            assert (values == 1).all()
        else:
            assert abs(values.mean()) < 5 * 0.05 / values.size**0.5
            assert values.std() == pytest.approx(0.05, rel=5 / (2 * values.size) ** 0.5)
    logits = Llama.from_pretrained(wanted.folder)(np.array([[1, 2, 3]])).detach().numpy()
    assert logits.shape == (1, 3, 50) and np.isfinite(logits).all()


def test_weights_are_normally_distributed(tmp_path: Path) -> None:
    config = replace(CONFIG, vocab_size=100_000, num_hidden_layers=1)
    write(SynthesizeConfig(dtype="fp32", out=tmp_path / "out"), config, lambda written: None)
    with open_shards(tmp_path / "out") as file:
        z = np.sort(file.get_tensor("model.embed_tokens.weight").reshape(-1) / 0.05)
    for value, below in ((-3, 0.00135), (-2, 0.02275), (-1, 0.15866), (0, 0.5), (1, 0.84134), (2, 0.97725)):
        assert np.searchsorted(z, value) / z.size == pytest.approx(below, abs=5 * (below / z.size) ** 0.5)


def test_a_seed_gives_the_same_files_and_another_seed_others(like: str) -> None:
    folders = []
    for i, seed in enumerate((1, 1, 2)):
        wanted = replace(options(like, seed=seed, max_shard_size="9KB"), out=Path(like).parent / str(i))
        synthesize(wanted)
        folders.append(contents(wanted.folder))
    assert folders[0] == folders[1]
    assert folders[0].keys() == folders[2].keys() and folders[0] != folders[2]


def test_no_two_tensors_are_the_same(like: str) -> None:
    synthesize(options(like))
    with open_shards(options(like).folder) as file:
        first, second = (file.get_tensor(f"model.layers.{i}.mlp.up_proj.weight") for i in range(2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_run_leaves_nothing(like: str, error: Any) -> None:
    calls = 0

    def stop(written: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise error

    before = sorted(os.listdir(Path(like).parent))
    with pytest.raises(type(error) if isinstance(error, OSError) else error):
        write(options(like, max_shard_size="4KB"), CONFIG, stop)
    assert calls == 8
    assert sorted(os.listdir(Path(like).parent)) == before


def test_a_killed_run_does_not_stand_in_the_way(like: str) -> None:
    wanted = options(like)
    leftover = wanted.folder.with_name(".out.0123abcd.tmp")
    leftover.mkdir()
    (leftover / "model-00001-of-00002.safetensors").write_bytes(b"half")
    with pytest.raises(SafetensorError, match="interrupted"):
        open_shards(leftover)
    wanted.folder.mkdir()  # and an empty folder is as good as none
    synthesize(wanted)
    assert sorted(contents(wanted.folder)) == ["config.json", "model.safetensors"]
    assert not leftover.exists()


def test_what_is_already_there_is_not_touched(like: str) -> None:
    for taken in (Path(like), Path(like) / "config.json"):
        with pytest.raises(UserError, match="exists: give a new or an empty folder"):
            synthesize(replace(options(like), out=taken))
    assert os.listdir(like) == ["config.json"]


def test_a_full_disk_is_noticed_before_anything_is_written(like: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(like)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**9))
    with pytest.raises(UserError, match=r"needs 16\.1 GB, but its disk has 1\.0 GB free"):
        synthesize(replace(options(like), like="llama-3-8b"))
    assert os.listdir(Path(like).parent) == ["tiny"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--like", "llama-9"], "no shape 'llama-9' is known: give one of smollm2-135m, "),
        (["--like", "."], "config.json"),
        (["--max-shard-size", "5 parsecs"], "max_shard_size is '5 parsecs'"),
        (["--max-shard-size", "0"], "must be positive"),
        (["--seed", "-1"], "must not be negative"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["synthesize", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("size", "expected"), [("5GB", 5 * 10**9), ("500 MiB", 500 * 2**20), ("1.5kb", 1500), ("7", 7)]
)
def test_sizes(size: str, expected: int) -> None:
    assert SynthesizeConfig(max_shard_size=size).shard_bytes == expected


def test_the_command_line(like: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(like).parent)
    assert main(["synthesize", "--like", "tiny", "--dtype", "fp16"]) == 0
    assert sorted(os.listdir(Path("runs", "tiny-fp16"))) == ["config.json", "model.safetensors"]
    assert "no tokenizer" in capsys.readouterr().out


@pytest.mark.oracle("torch", "transformers")
@pytest.mark.parametrize("name", SHAPES)
def test_transformers_counts_the_same_weights(name: str, tmp_path: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = shape_of(name)
    config.save(tmp_path, "bfloat16")
    theirs = AutoConfig.from_pretrained(tmp_path)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(theirs)
    state = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    if config.tie_word_embeddings:
        del state["lm_head.weight"]
    assert weight_shapes(config) == state
    assert theirs.dtype == torch.bfloat16
    assert theirs.rope_parameters["rope_theta"] == config.rope_theta
    assert theirs.rope_parameters["rope_type"] == config.rope_scaling.rope_type


@pytest.mark.oracle("torch", "transformers")
def test_transformers_loads_a_folder_and_agrees(like: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    wanted = options(like, dtype="fp32", max_shard_size="4KB")
    synthesize(wanted)
    ids = np.array([[3, 1, 4, 1, 5]])
    theirs = AutoModelForCausalLM.from_pretrained(wanted.folder)(torch.tensor(ids)).logits.detach().numpy()
    np.testing.assert_allclose(Llama.from_pretrained(wanted.folder)(ids).detach().numpy(), theirs, atol=1e-5)
