from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lora.text.data import Data, load_data, split, tokenize
from lora.text.tokenizer import Tokenizer
from tinytorch.cli.errors import UserError
from tinytorch.training.batches import IGNORED

CHAT = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "three"},
    {"role": "assistant", "content": "four"},
]


@pytest.fixture
def tokenizer(byte_level: Path) -> Tokenizer:
    return Tokenizer.from_pretrained(byte_level)


@pytest.fixture
def spaced(sentencepiece_style: Path) -> Tokenizer:
    return Tokenizer.from_pretrained(sentencepiece_style)


def learned(record: dict[str, Any], tokenizer: Tokenizer) -> tuple[str, str]:
    """The text of a record with its special tokens, and of that what is to be learned."""
    ids, mask = tokenize(record, tokenizer)
    assert len(ids) == len(mask)
    parts = ids, [id for id, is_learned in zip(ids, mask, strict=True) if is_learned]
    text, target = (tokenizer.decode(part, skip_special_tokens=False) for part in parts)
    return text, target


def load(path: Path, lines: list[Any], tokenizer: Tokenizer, max_tokens: int = 64) -> Data:
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return load_data(path, tokenizer, max_tokens)


def test_all_of_a_text_is_learned_to_its_end(tokenizer: Tokenizer, spaced: Tokenizer) -> None:
    assert learned({"text": "a b"}, tokenizer) == ("<|begin_of_text|>a b<|end_of_text|>",) * 2
    assert tokenize({"text": "a b</s>"}, spaced)[0] == tokenize({"text": "a b"}, spaced)[0]  # one end is enough


@pytest.mark.parametrize("prompt", ["Say:", "Say: ", "Say"])
def test_of_a_prompt_and_completion_the_completion_is(tokenizer: Tokenizer, prompt: str) -> None:
    text, target = learned({"prompt": prompt, "completion": " hello you"}, tokenizer)
    assert text == f"<|begin_of_text|>{prompt} hello you<|end_of_text|>"
    assert target == " hello you<|end_of_text|>"
    ids, _ = tokenize({"prompt": prompt, "completion": " hello you"}, tokenizer)
    asked = tokenizer.encode(prompt)
    assert ids[: len(asked)] == asked  # as the model will be asked


def test_a_completion_that_would_grow_together_with_its_prompt(tokenizer: Tokenizer) -> None:
    record = {"prompt": "the met", "completion": "hod"}
    assert tokenizer.encode("the method")[:-1] != tokenizer.encode("the met")  # the last word is one token
    ids, mask = tokenize(record, tokenizer)
    assert ids[: len(tokenizer.encode("the met"))] == tokenizer.encode("the met")
    assert learned(record, tokenizer)[1] == "hod<|end_of_text|>"
    assert not mask[: len(tokenizer.encode("the met"))].any()


def test_of_a_conversation_what_the_assistant_says_is(tokenizer: Tokenizer, spaced: Tokenizer) -> None:
    text, target = learned({"messages": CHAT}, tokenizer)
    assert text == tokenizer.render_chat(CHAT)
    assert target == "two<|eot_id|>four<|eot_id|>"
    _, target = learned({"messages": CHAT}, spaced)
    assert target.replace(" ", "") == "two</s>four</s>"
    ends_with_the_user = [*CHAT, {"role": "user", "content": "five"}]
    assert learned({"messages": ends_with_the_user}, tokenizer)[1] == "two<|eot_id|>four<|eot_id|>"


def test_targets_are_the_next_tokens_or_ignored(tmp_path: Path, tokenizer: Tokenizer) -> None:
    data = load(tmp_path / "x.jsonl", [{"prompt": "ab", "completion": " cd"}, "\n", "  \n"], tokenizer)
    ids, mask = tokenize(data.records[0], tokenizer)
    (example,) = data.examples
    assert example.inputs.tolist() == ids[:-1]
    assert example.targets.tolist() == [id if m else IGNORED for id, m in zip(ids[1:], mask[1:], strict=True)]
    assert example.targets[0] == IGNORED
    assert example.targets[-1] == tokenizer.eos_ids[0]
    assert data.warnings == []


def test_long_examples_are_cut_with_a_warning(tmp_path: Path, tokenizer: Tokenizer) -> None:
    lines = [{"text": "a"}, {"text": "a b c d e f g h"}, {"prompt": "a b c d e f", "completion": "g"}]
    data = load(tmp_path / "x.jsonl", lines, tokenizer, max_tokens=5)
    assert [len(example.inputs) for example in data.examples] == [2, 4]  # of the last nothing to learn is left
    assert data.records == lines[:2]
    whole = tokenizer.encode("a b c d e f g h")
    assert data.examples[1].inputs.tolist() == whole[:4]
    assert data.examples[1].targets.tolist() == whole[1:5]
    cut, left_out = data.warnings
    assert cut.startswith("2 of 3 examples were cut to 5 tokens (the longest has ")
    assert left_out.startswith("1 examples were left out")
    with pytest.raises(UserError, match="no example with anything to learn in its first 5 tokens"):
        load(tmp_path / "x.jsonl", lines[2:], tokenizer, max_tokens=5)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: it is not JSON"),
        ("[1]\n", "line 2: it is not a JSON object"),
        ('{"text": "cut off \\ud83d"}\n', r"line 2: the text is not valid Unicode, it has '\\ud83d' \(character 9\)"),
        ('{"a":' * 100_000 + "\n", "line 2: it is JSON nested too deep"),
        ({"prompt": "a"}, r'line 2: its keys are "prompt"; .*"completion"}: "completion" is missing'),
        ({}, "line 2: its keys are none; give one of"),
        ({"title": "a", "url": "b"}, r'line 2: its keys are "title", "url"; give one of {"messages"'),
        ({"question": "a", "answer": "b"}, 'rename "question" to "prompt" and "answer" to "completion"'),
        ({"instruction": "a", "context": "b", "response": "c"}, '"context" to "input" and "response" to "output"'),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, 'rename "chosen" to "completion"$'),
        ({"dialog": CHAT}, 'rename "dialog" to "messages"'),
        ({"body": "a"}, 'rename "body" to "text"'),
        ({"conversations": [{"from": "alien", "value": "a"}]}, '"from" is "alien": it must be one of human'),
        ({"conversations": [{"from": ["gpt"], "value": "a"}]}, 'line 2: "from" is list, not a string'),
        ({f"k{i}\n": i for i in range(99)}, r'line 2: its keys are "k0\\n", .*"k11\\n", \.\.\.; give one of'),
        ({"conversations": [{"from": "gpt"}]}, '"conversations" is not a list of objects with "from" and "value"'),
        ({"prompt": CHAT[:1], "completion": "two"}, '"completion" is not a list of objects with "role"'),
        ({"prompt": CHAT, "completion": CHAT[:1]}, "no message is the assistant's"),
        ({"messages": CHAT, "tools": [{"name": "f"}]}, 'line 2: it has "tools", which the chat template does not read'),
        ({"messages": CHAT, "documents": [{"text": "f"}]}, 'line 2: it has "documents", which the chat template'),
        ({"messages": CHAT, "chat_template_kwargs": {"enable_thinking": False}}, 'it has "enable_thinking", which'),
        ({"prompt": "a", "completion": "b", "tools": [1]}, 'it has "tools", which only a chat template could show'),
        ({"text": "a", "system": "b"}, 'it has "system", which only a chat template could show'),
        ({"text": 5}, 'line 2: "text" is int, not a string'),
        ({"prompt": "a", "completion": None}, 'line 2: "completion" is NoneType'),
        ({"messages": "hello"}, 'line 2: "messages" is not a list of objects'),
        ({"messages": CHAT[:1]}, "line 2: no message is the assistant's"),
        ({"messages": [{"role": "assistant"}]}, 'line 2: "messages" is not a list of objects with "role" and'),
    ],
)
def test_what_is_wrong_with_a_line(tmp_path: Path, tokenizer: Tokenizer, line: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(tmp_path / "x.jsonl", [{"text": "a"}, line], tokenizer)


def test_what_is_wrong_with_a_file(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match=r"cannot read .*nothing: there is no such file \(a data set on Hugging Face"):
        load_data(tmp_path / "nothing", tokenizer, 64)
    (tmp_path / "folder").mkdir()
    for name in ("train.jsonl", "valid.jsonl"):
        (tmp_path / "folder" / name).touch()
    with pytest.raises(UserError, match=r"is a folder: give --data one file of it, .* \(train.jsonl, valid.jsonl\)"):
        load_data(tmp_path / "folder", tokenizer, 64)
    (tmp_path / "x").write_bytes(b'{"text": "\xff"}')
    with pytest.raises(UserError, match="is not UTF-8 text"):
        load_data(tmp_path / "x", tokenizer, 64)
    with pytest.raises(UserError, match="no example with anything to learn"):
        load(tmp_path / "x", [], tokenizer)


def test_no_chat_template_and_no_end(tmp_path: Path, byte_level: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((byte_level / name).read_bytes())
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    del settings["chat_template"], settings["eos_token"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = Tokenizer.from_pretrained(tmp_path)
    with pytest.raises(UserError, match="has no chat template"):
        tokenize({"messages": CHAT}, tokenizer)
    with pytest.raises(UserError, match="no token that ends a text"):
        tokenize({"text": "a"}, tokenizer)


def test_a_tenth_validates_drawn_by_the_seed() -> None:
    items = list(range(25))
    rest, held_out = split(items, 1)
    assert len(held_out) == 2 and sorted(rest + held_out) == items
    assert rest == sorted(rest) and held_out == sorted(held_out)
    assert split(items, 1) == (rest, held_out)
    drawn = [split(list(range(1000)), seed)[1] for seed in range(2)]
    assert drawn[0] != drawn[1]
    assert all(min(places) < 100 and max(places) >= 900 for places in drawn)  # of the whole file, not its end
    assert sorted(map(len, split([1, 2], 0))) == [1, 1]
    with pytest.raises(UserError, match="one example is not enough"):
        split([1], 0)


# Other forms ----------------------------------------------------------------------------------------


SHAREGPT = [
    {"from": "human", "value": "one"},
    {"from": "gpt", "value": "two"},
    {"from": "human", "value": "three"},
    {"from": "gpt", "value": "four"},
]


@pytest.mark.parametrize(
    ("record", "same"),
    [
        ({"conversations": SHAREGPT, "id": 7}, {"messages": CHAT}),
        ({"conversations": CHAT}, {"messages": CHAT}),
        (
            {"conversations": [{"from": "system", "value": "be"}, *SHAREGPT]},
            {"messages": [{"role": "system", "content": "be"}, *CHAT]},
        ),
        ({"conversations": SHAREGPT, "system": "be"}, {"messages": [{"role": "system", "content": "be"}, *CHAT]}),
        ({"messages": CHAT, "system": "be"}, {"messages": [{"role": "system", "content": "be"}, *CHAT]}),
        ({"messages": CHAT, "tools": None, "documents": []}, {"messages": CHAT}),
        ({"prompt": "a", "response": " b"}, {"prompt": "a", "completion": " b"}),
        ({"instruction": "one", "output": "two"}, {"messages": CHAT[:2]}),
        ({"instruction": "one", "input": "", "output": "two", "text": "all"}, {"messages": CHAT[:2]}),
        (
            {"instruction": "one", "input": "1 2", "output": "two"},
            {"messages": [{"role": "user", "content": "one\n\n1 2"}, CHAT[1]]},
        ),
    ],
)
def test_forms_that_come_down_to_ours(record: dict[str, Any], same: dict[str, Any], tokenizer: Tokenizer) -> None:
    ids, mask = tokenize(record, tokenizer)
    expected, expected_mask = tokenize(same, tokenizer)
    assert ids == expected and mask.tolist() == expected_mask.tolist()


def test_of_a_prompt_of_messages_nothing_is_learned(tokenizer: Tokenizer) -> None:
    text, target = learned({"prompt": CHAT[:3], "completion": CHAT[3:]}, tokenizer)
    assert (text, target) == (tokenizer.render_chat(CHAT), "four<|eot_id|>")


def with_template(folder: Path, source: Path, template: str | None) -> Tokenizer:
    """The tokenizer of a folder with another chat template, or none."""
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    settings = json.loads((source / "tokenizer_config.json").read_text())
    del settings["chat_template"]
    own = {} if template is None else {"chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **own}))
    return Tokenizer.from_pretrained(folder)


def test_alpaca_without_a_template(tmp_path: Path, byte_level: Path) -> None:
    plain = with_template(tmp_path / "plain", byte_level, None)
    lines = [{"instruction": "Add", "input": "1 2", "output": "3"}, {"instruction": "Say", "input": "", "output": "Hi"}]
    data = load(tmp_path / "x.jsonl", lines, plain, 400)
    assert not data.chat
    assert data.warnings == [
        "the tokenizer has no chat template, so instructions are learned in Alpaca's words: ask in them too "
        "(### Instruction: ... ### Response:)"
    ]
    text, target = learned(lines[0], plain)
    assert "appropriately completes the request.\n\n### Instruction:\nAdd\n\n### Input:\n1 2\n\n### Resp" in text
    assert target == "3<|end_of_text|>"
    assert "### Input" not in learned(lines[1], plain)[0]


def test_tools_and_documents_reach_the_template(tmp_path: Path, byte_level: Path) -> None:
    template = (
        "{% for t in tools or [] %}{{ t.name }};{% endfor %}"
        "{% for d in documents or [] %}{{ d }},{% endfor %}{{ mood }}"
        "{% for m in messages %}{{ m.role }}:{{ m.content }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    tokenizer = with_template(tmp_path / "own", byte_level, template)
    talk = "user:one<|end_of_text|>assistant:two<|end_of_text|>"
    for more in ({"tools": [{"name": "f"}]}, {"tools": '[{"name": "f"}]'}):
        assert learned({"messages": CHAT[:2], **more}, tokenizer) == (f"f;{talk}", "two<|end_of_text|>")
    assert learned({"messages": CHAT[:2], "documents": ["a", "b"]}, tokenizer)[0] == f"a,b,{talk}"
    assert learned({"messages": CHAT[:2], "mood": "!", "eos_token": "?"}, tokenizer)[0] == f"!{talk}"
    assert learned({"messages": CHAT[:2], "chat_template_kwargs": {"mood": "!"}}, tokenizer)[0] == f"!{talk}"
    with pytest.raises(UserError, match='"tools" is a string that is not JSON'):
        tokenize({"messages": CHAT, "tools": "f"}, tokenizer)


LLAMA_3 = (
    "{% if messages[0]['role'] == 'system' %}S{% endif %}{% for m in messages %}{{ m['role'] }}:{{ m['content'] }}"
    "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
NEEDS_A_USER = (
    "{% if not messages | selectattr('role', 'equalto', 'user') | list %}{{ raise_exception('no user') }}{% endif %}"
    + LLAMA_3
)


DEFAULT_SYSTEM = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}system:kind{{ eos_token }}{% endif %}"
    "{{ m.role }}:{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
THOUGHTS = (
    "{% for m in messages %}{{ m.role }}:{{ m.content if loop.last else m.content.split('</think>')[-1] }}"
    "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


@pytest.mark.parametrize("template", [LLAMA_3, NEEDS_A_USER, DEFAULT_SYSTEM])
@pytest.mark.parametrize("first", ["hello", "Zebra", ""])
def test_conversations_of_which_the_template_refuses_a_part(
    tmp_path: Path, byte_level: Path, template: str, first: str
) -> None:
    tokenizer = with_template(tmp_path / "own", byte_level, template)
    talk = [
        {"role": "assistant", "content": first},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]
    for before in ([], [{"role": "system", "content": "be"}]):
        text, target = learned({"messages": [*before, *talk]}, tokenizer)
        assert text == tokenizer.render_chat([*before, *talk])
        assert target == f"{first}<|end_of_text|>b<|end_of_text|>"


def test_thoughts_that_the_template_leaves_out_later(tmp_path: Path, byte_level: Path) -> None:
    tokenizer = with_template(tmp_path / "own", byte_level, THOUGHTS)
    talk = [CHAT[0], {"role": "assistant", "content": "<think>hm</think>two"}, *CHAT[2:]]
    assert learned({"messages": talk}, tokenizer)[1] == "two<|end_of_text|>four<|end_of_text|>"


# Other files ----------------------------------------------------------------------------------------


def test_an_array_of_json(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"text": "a"}, {"prompt": "b", "completion": " c"}], indent=1))
    assert load_data(path, tokenizer, 64).records == [{"text": "a"}, {"prompt": "b", "completion": " c"}]
    for content, message in (
        ('[{"text": "a"}, 5]', "x.json, item 2: it is not a JSON object"),
        ('[{"text": "a"}, {"texts": "b"}]', 'x.json, item 2: its keys are "texts"'),
        ('[{"text": "a"},', "x.json: it begins like a JSON array but is not one"),
        ("[" * 100_000, "x.json: it is JSON nested too deep"),
    ):
        path.write_text(content)
        with pytest.raises(UserError, match=message):
            load_data(path, tokenizer, 64)


@pytest.mark.parametrize(("suffix", "mark"), [(".csv", ","), (".TSV", "\t")])
def test_tables(tmp_path: Path, tokenizer: Tokenizer, suffix: str, mark: str) -> None:
    path = tmp_path / f"x{suffix}"
    long = "a " * 100_000
    lines = [["prompt", "completion"], ["b", '" c, ""d""\n e"'], [], ["f", long]]
    path.write_text("\ufeff" + "".join(mark.join(line) + "\r\n" for line in lines), newline="")
    data = load_data(path, tokenizer, 64)
    expected = [{"prompt": "b", "completion": ' c, "d"\n e'}, {"prompt": "f", "completion": long}]
    assert data.records == expected
    path.write_text(f"prompt{mark}completion\na{mark}b\nc\n")
    with pytest.raises(UserError, match=rf"x{suffix}, line 3: it has 1 cells, the first line names 2 columns"):
        load_data(path, tokenizer, 64)
    path.write_text(f'prompt{mark}completion\na{mark}"b"c\n')
    with pytest.raises(UserError, match=rf"x{suffix}, line 2: it is not a table"):
        load_data(path, tokenizer, 64)
    path.write_text(f"question{mark}answer\na{mark}b\n")
    with pytest.raises(UserError, match='line 2: its keys are "question", "answer"; the nearest form'):
        load_data(path, tokenizer, 64)


@pytest.mark.parametrize("max_tokens", [2, 5, 1000])
def test_plain_text_in_pieces(tmp_path: Path, tokenizer: Tokenizer, max_tokens: int) -> None:
    path = tmp_path / "x.txt"
    path.write_text("The list is a sequence.\n\nThe tuple is one too.\n")
    ids = [*tokenizer.encode(path.read_text()), tokenizer.eos_ids[0]]
    data = load_data(path, tokenizer, max_tokens)
    assert [id for example in data.examples for id in example.targets.tolist()] == ids[1:]
    assert [id for example in data.examples for id in example.inputs.tolist()] == ids[:-1]
    assert all(len(example.inputs) < max_tokens for example in data.examples)
    assert len(data.records) == len(data.examples) and data.warnings == [] and not data.chat
    path.write_bytes(b"\xff")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        load_data(path, tokenizer, 64)


def test_a_line_that_is_text_says_where_text_belongs(tmp_path: Path, tokenizer: Tokenizer) -> None:
    (tmp_path / "x.jsonl").write_text("Once upon a time\n")
    with pytest.raises(UserError, match=r"line 1: it is not JSON .* belongs in a \.txt or \.md file"):
        load_data(tmp_path / "x.jsonl", tokenizer, 64)


@pytest.mark.oracle("transformers")
def test_the_assistants_words_are_those_that_transformers_marks(byte_level: Path, tokenizer: Tokenizer) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(byte_level).apply_chat_template(
        CHAT, return_assistant_tokens_mask=True, return_dict=True
    )
    ids, mask = tokenize({"messages": CHAT}, tokenizer)
    assert ids == list(theirs["input_ids"])
    assert mask.astype(int).tolist() == list(theirs["assistant_masks"])
