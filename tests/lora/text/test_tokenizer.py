from __future__ import annotations

import json
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora.commands.loading import check_fit
from lora.text.bpe import SPECIAL
from lora.text.tokenizer import IncrementalDecoder, Tokenizer
from tinytorch.cli.errors import UserError

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": " What is a dict? "},
    {"role": "assistant", "content": "A mapping."},
]
FOLDERS = ("byte_level", "sentencepiece_style")
TEXTS = ["", "The dict", " two  spaces\n\n\ttab ", "naïve Ω 日本 😀👩‍👩‍👧", "don't 12345 __init__(self)", "\x00\x7f"]


@pytest.fixture(params=FOLDERS)
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture
def own(byte_level: Path, tmp_path: Path) -> Path:
    """A copy of the byte-level tokenizer, to change."""
    return Path(shutil.copytree(byte_level, tmp_path / "own"))


def settings(folder: Path, **changes: Any) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_encoded_is_decoded(folder: Path, text: str) -> None:
    tokenizer = Tokenizer.from_pretrained(folder)
    ids = tokenizer.encode(text)
    assert ids[0] == tokenizer.bos_id
    assert ids[1:] == tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(ids, skip_special_tokens=False).startswith(tokenizer.tokens["bos_token"])


def test_special_tokens_have_their_roles(byte_level: Path, sentencepiece_style: Path) -> None:
    ours = Tokenizer.from_pretrained(byte_level)
    assert (ours.bos_id, ours.eos_ids, ours.pad_id) == (0, (1, 4), 5)
    assert ours.encode("<|eot_id|>", add_special_tokens=False) == [4]
    assert ours.vocab_size == 400
    other = Tokenizer.from_pretrained(sentencepiece_style)
    assert (other.bos_id, other.eos_ids, other.pad_id) == (1, (2,), None)


def test_added_tokens_count(own: Path) -> None:
    """An id beyond the vocabulary of the file's own model is one that the embedding must have a row for."""
    path = own / "tokenizer.json"
    content = json.loads(path.read_text())
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    content["added_tokens"].append({"id": 417, "content": "<turn>", **flags})
    path.write_text(json.dumps(content))
    tokenizer = Tokenizer.from_pretrained(own)
    assert tokenizer.encode("<turn>", add_special_tokens=False)[0] == tokenizer.vocab_size - 1 >= 400


def test_tokens_that_the_model_never_learned(own: Path) -> None:
    """Llama 2's [PAD]: a warning, and an error only for a text that has it."""
    path = own / "tokenizer.json"
    content = json.loads(path.read_text())
    content["added_tokens"].append({**content["added_tokens"][0], "id": 400, "content": "[PAD]"})
    path.write_text(json.dumps(content))
    settings(own, pad_token="[PAD]")
    (own / "generation_config.json").write_text('{"eos_token_id": [4, 400]}')
    tokenizer = Tokenizer.from_pretrained(own)
    check_fit(tokenizer, 401, own)
    assert (tokenizer.pad_id, tokenizer.eos_ids) == (400, (1, 4, 400))
    assert tokenizer.encode("[PAD]", add_special_tokens=False) == [400]
    with pytest.warns(UserWarning, match="has 401 tokens, the model's embedding only 400 rows: texts with other"):
        check_fit(tokenizer, 400, own)
    assert (tokenizer.pad_id, tokenizer.eos_ids, tokenizer.bos_id) == (None, (1, 4), 0)
    assert tokenizer.encode("The dict") == Tokenizer.from_pretrained(own).encode("The dict")
    with pytest.raises(UserError, match=r"'\[PAD\]' has the id 400, but the model's embedding only 400 rows: leave it"):
        tokenizer.encode("The dict[PAD]")


def test_all_files_that_name_an_end_count(own: Path) -> None:
    (own / "generation_config.json").write_text('{"eos_token_id": [4, 7], "pad_token_id": 9}')
    (own / "config.json").write_text('{"eos_token_id": 8}')
    settings(own, pad_token=None)
    tokenizer = Tokenizer.from_pretrained(own)
    assert tokenizer.eos_ids == (1, 4, 7, 8)
    assert tokenizer.pad_id == 9


def test_tokens_that_stand_in_special_tokens_map_json(own: Path) -> None:
    """Older folders have them only there. Where both have them it counts, but beside added_tokens_decoder not."""
    path = own / "tokenizer_config.json"
    given = json.loads(path.read_text())
    tokens = {name: given.pop(name) for name in list(given) if name.endswith("_token")}
    path.write_text(json.dumps(given))
    as_object = {"content": tokens["bos_token"], "lstrip": False, "normalized": False}
    (own / "special_tokens_map.json").write_text(
        json.dumps({**tokens, "bos_token": as_object, "additional_special_tokens": ["a"]})
    )
    tokenizer = Tokenizer.from_pretrained(own)
    assert (tokenizer.bos_id, tokenizer.eos_ids, tokenizer.pad_id) == (0, (1, 4), 5)
    assert tokenizer.tokens == tokens
    assert tokenizer.render_chat(TALK).startswith("<|begin_of_text|>")
    settings(own, eos_token="<|eot_id|>")
    assert Tokenizer.from_pretrained(own).eos_ids == (1, 4)
    settings(own, added_tokens_decoder={})
    again = Tokenizer.from_pretrained(own)
    assert (again.eos_ids[0], again.pad_id, again.tokens["bos_token"]) == (4, 5, "<|begin_of_text|>")


@pytest.mark.parametrize("pad", [-1, None])
def test_a_padding_that_is_none(pad: int | None, own: Path) -> None:
    (own / "generation_config.json").write_text(json.dumps({"pad_token_id": pad}))
    settings(own, pad_token=None)
    assert Tokenizer.from_pretrained(own).pad_id is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", b'{"eos_token_id": "x"}', 'eos_token_id is "x": expected a token'),
        ("generation_config.json", b'{"eos_token_id": 1.5}', "generation_config.json: eos_token_id is 1.5: expected"),
        ("generation_config.json", b'{"pad_token_id": [[]]}', "generation_config.json: pad_token_id is"),
        ("generation_config.json", b"[" * 100_000, "generation_config.json cannot be read: .*recursion"),
        ("special_tokens_map.json", b"3", "special_tokens_map.json holds no JSON object"),
        ("special_tokens_map.json", b'{"eos_token": "\\udc00"}', "special_tokens_map.json cannot be read"),
        ("chat_template.jinja", b"{{ \xff }}", "chat_template.jinja cannot be read: 'utf-8' codec"),
        ("tokenizer_config.json", b'{"chat_template": [3]}', None),
        ("tokenizer_config.json", b'{"chat_template": [{"name": [], "template": 3}]}', None),
        ("tokenizer_config.json", b'{"eos_token": {"content": []}}', None),
        ("tokenizer.json", b"[" * 100_000, "tokenizer.json is not a tokenizer"),
    ],
)
def test_files_that_say_nothing(name: str, content: bytes, message: str | None, own: Path) -> None:
    (own / name).write_bytes(content)
    if message is None:
        Tokenizer.from_pretrained(own)
        return
    with pytest.raises(UserError, match=message) as raised:
        Tokenizer.from_pretrained(own)
    assert str(own / name) in str(raised.value) and "\n" not in str(raised.value)


def test_a_panic_of_the_package(own: Path) -> None:
    """It is no Exception."""
    model = {"type": "BPE", "continuing_subword_prefix": "####", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
    (own / "tokenizer.json").write_text(json.dumps({"model": model, "added_tokens": []}))
    with pytest.raises(UserError, match=r"tokenizer\.json cannot be read: .*\(PanicException\); restore it"):
        Tokenizer.from_pretrained(own)


@pytest.mark.parametrize(
    ("pattern", "content", "times", "factor"),
    [
        ({"String": "a"}, "aa", 30, 2**30),
        ({"String": "aa"}, "aaaaa", 10, 3**10),
        ({"Regex": ""}, "x", 20, 2**20),
        ({"String": " "}, "▁", 100, None),
        ({"Regex": " {2,}"}, "▁", 3, None),
    ],
)
def test_replacements_that_double_a_text(
    pattern: dict[str, str], content: str, times: int, factor: int | None, own: Path
) -> None:
    """A text of 500 characters would take all memory."""
    path = own / "tokenizer.json"
    steps = [{"type": "Replace", "pattern": pattern, "content": content}] * times
    for part in ("normalizer", "decoder"):
        whole = {"type": "Sequence", f"{part}s": [{"type": "Sequence", f"{part}s": steps}]}
        path.write_text(json.dumps({**json.loads((own / "tokenizer.json").read_text()), part: whole}))
        if factor is None:
            Tokenizer.from_pretrained(own)
            continue
        with pytest.raises(UserError, match=rf"tokenizer\.json makes texts {factor} times as long as they are"):
            Tokenizer.from_pretrained(own)


def pieces(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    decoder = IncrementalDecoder(tokenizer)
    return [*[decoder.push(id) for id in ids], decoder.flush()]


letters = st.characters(exclude_categories=["Cs"]) | st.sampled_from("aé日😀 ▁")


@given(text=st.text(letters, max_size=20))
def test_a_stream_of_tokens_gives_whole_characters(byte_level: Path, sentencepiece_style: Path, text: str) -> None:
    for folder in (byte_level, sentencepiece_style):
        tokenizer = Tokenizer.from_pretrained(folder)
        ids = tokenizer.encode(text)
        given_pieces = pieces(tokenizer, ids)
        assert "".join(given_pieces) == tokenizer.decode(ids)
        if "\N{REPLACEMENT CHARACTER}" not in text:
            assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in given_pieces)


def test_a_character_of_several_tokens_comes_with_its_last(folder: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(folder)
    ids = tokenizer.encode("a😀b", add_special_tokens=False)
    shown = [piece for piece in pieces(tokenizer, ids) if piece]
    assert len(ids) > 3
    assert shown == ["a", "😀", "b"]


def test_half_a_character_at_the_end_is_shown_as_such(folder: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(folder)
    ids = tokenizer.encode("a😀", add_special_tokens=False)[:-1]
    *before, last = pieces(tokenizer, ids)
    assert "".join(before) == "a"
    assert set(last) == {"\N{REPLACEMENT CHARACTER}"}


def test_a_conversation_in_llama_3s_form(byte_level: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(byte_level)
    text = tokenizer.render_chat(TALK[:2], add_generation_prompt=True)
    assert text == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nWhat is a dict?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    ids = tokenizer.apply_chat_template(TALK[:2], add_generation_prompt=True)
    assert ids.count(SPECIAL.index("<|begin_of_text|>")) == 1
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert tokenizer.render_chat(TALK).endswith("\n\nA mapping.<|eot_id|>")


def test_blocks_leave_no_blanks(sentencepiece_style: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(sentencepiece_style)
    assert tokenizer.render_chat(TALK[1:]) == "<s>[INST]  What is a dict?  [/INST]\nA mapping.</s>"


def test_where_a_template_is_looked_for(own: Path) -> None:
    def rendered() -> str:
        return Tokenizer.from_pretrained(own).render_chat(TALK)

    several = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "the default"}]
    settings(own, chat_template=several)
    assert rendered() == "the default"
    (own / "chat_template.jinja").write_text("a file: {{ messages | length }} {{ tools is none }} {{ bos_token }}")
    assert rendered() == "a file: 3 True <|begin_of_text|>"
    (own / "chat_template.jinja").unlink()
    settings(own, chat_template=None)
    with pytest.raises(UserError, match="has no chat template"):
        rendered()
    assert not Tokenizer.from_pretrained(own).has_chat_template


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ {'a': '<é>'} | tojson }}", '{"a": "<é>"}'),
        ("{% for m in messages %}{% if loop.index == 2 %}{% break %}{% endif %}{{ m.role }}{% endfor %}", "system"),
        ("{{ strftime_now('%Y') | length }}", "4"),
        ("{{ date_string is defined }}", "False"),
    ],
)
def test_what_a_template_can_use(own: Path, template: str, expected: str) -> None:
    settings(own, chat_template=template)
    assert Tokenizer.from_pretrained(own).render_chat(TALK) == expected


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('roles must\nalternate') }}", "refuses the messages: roles must alternate"),
        ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__'"),
        ("{{ messages.append(1) }}", "refuses the messages"),
        ("{{ messages[9].role }}", "refuses the messages"),
        ("{{ 1 / 0 }}", "refuses the messages"),
    ],
)
def test_what_a_template_cannot_do(own: Path, template: str, message: str) -> None:
    settings(own, chat_template=template)
    tokenizer = Tokenizer.from_pretrained(own)
    with pytest.raises(UserError, match=message):
        tokenizer.render_chat(TALK)


def test_a_template_that_is_none(own: Path) -> None:
    settings(own, chat_template="{% if %}")
    with pytest.raises(UserError, match="the chat template cannot be read"):
        Tokenizer.from_pretrained(own)


def test_folders_without_a_tokenizer(tmp_path: Path, own: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        Tokenizer.from_pretrained(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"neither tokenizer\.json nor tokenizer\.model"):
        Tokenizer.from_pretrained(tmp_path)
    (own / "tokenizer_config.json").write_text("{")
    with pytest.raises(UserError, match=r"tokenizer_config\.json cannot be read"):
        Tokenizer.from_pretrained(own)
    (own / "tokenizer_config.json").write_text("[]")
    with pytest.raises(UserError, match=r"tokenizer_config\.json holds no JSON object"):
        Tokenizer.from_pretrained(own)
    (own / "tokenizer.json").write_text("{}")
    (own / "tokenizer_config.json").unlink()
    with pytest.raises(UserError, match=r"tokenizer\.json is not a tokenizer"):
        Tokenizer.from_pretrained(own)


def test_tokenizer_model_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(UserError, match=r"needs the package sentencepiece: pip install 'tinytorch\[sentencepiece\]'"):
        Tokenizer.from_pretrained(tmp_path)


class Letters:
    """What sentencepiece does, with a vocabulary of single letters."""

    pieces = ("<unk>", "<s>", "</s>", *"▁abc")

    def __init__(self, model_proto: bytes) -> None:
        if model_proto == b"?":
            raise RuntimeError("Internal: could not\nparse ModelProto")

    def encode(self, text: str) -> list[int]:
        return [self.piece_to_id(letter) for letter in ("▁" + text.replace(" ", "▁"))]

    def decode(self, ids: list[int]) -> str:
        return "".join(self.pieces[id] for id in ids).replace("▁", " ").removeprefix(" ")

    def piece_to_id(self, piece: str) -> int:
        return self.pieces.index(piece) if piece in self.pieces else 0

    def id_to_piece(self, id: int) -> str:
        return self.pieces[id]

    def is_control(self, id: int) -> bool:
        return id in (1, 2)

    def is_unknown(self, id: int) -> bool:
        return id == 0

    def get_piece_size(self) -> int:
        return len(self.pieces)

    def bos_id(self) -> int:
        return 1

    def eos_id(self) -> int:
        return 2


def test_tokenizer_model_by_sentencepiece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("sentencepiece")
    module.SentencePieceProcessor = Letters  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentencepiece", module)
    (tmp_path / "tokenizer.model").write_bytes(b"")
    with pytest.raises(UserError, match=r"tokenizer\.model is empty: restore it"):
        Tokenizer.from_pretrained(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"?")
    with pytest.raises(UserError, match=r"model is not a tokenizer \(Internal: could not parse ModelProto\)"):
        Tokenizer.from_pretrained(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"x")
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": "<s>", "eos_token": "</s>", "added_tokens_decoder": {"7": {"content": "<turn>"}}})
    )
    tokenizer = Tokenizer.from_pretrained(tmp_path)
    assert (tokenizer.bos_id, tokenizer.eos_ids, tokenizer.vocab_size) == (1, (2,), 8)
    ids = tokenizer.encode("ab<turn>c</s>")
    assert ids == [1, 3, 4, 5, 7, 3, 6, 2]
    assert tokenizer.decode(ids, skip_special_tokens=False) == "<s>ab<turn>c</s>"
    assert tokenizer.decode([1, 3, 4, 3, 5, 2]) == "a b"
    assert "".join(pieces(tokenizer, [1, 3, 4, 3, 5, 2])) == "a b"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"added_tokens_decoder": 3}, "added_tokens_decoder maps no ids to objects"),
        ({"added_tokens_decoder": {"7": "<turn>"}}, "added_tokens_decoder maps no ids to objects"),
        ({"added_tokens_decoder": {"x": {"content": "<turn>"}}}, "the added token '<turn>' has the id 'x'"),
        ({"added_tokens_decoder": {"7": {"content": 7}}}, "the added token 7 has the id 7"),
        ({"added_tokens_decoder": {"99999999999": {"content": "a"}}}, "the added token 'a' has the id 99999999999"),
        ({"legacy": "no"}, "legacy is 'no': it must be true, false or null"),
        ({"add_bos_token": 1}, "add_bos_token is 1: it must be true"),
    ],
)
def test_settings_beside_tokenizer_model(
    values: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("sentencepiece")
    module.SentencePieceProcessor = Letters  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentencepiece", module)
    (tmp_path / "tokenizer.model").write_bytes(b"x")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=rf"tokenizer_config\.json: {message}"):
        Tokenizer.from_pretrained(tmp_path)
