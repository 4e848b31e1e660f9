"""Ids, texts and conversations are those of transformers' AutoTokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora.text.tokenizer import Tokenizer

pytestmark = pytest.mark.oracle("transformers")

MARKS = ["<|begin_of_text|>", "<|eot_id|>", "<s>", "</s>", "▁", " ", "\n", "Ω", "😀", "the", "class"]


@pytest.fixture(scope="module")
def both(byte_level: Path, sentencepiece_style: Path) -> list[tuple[Tokenizer, Any]]:
    import transformers

    return [
        (Tokenizer.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder))
        for folder in (byte_level, sentencepiece_style)
    ]


texts = st.lists(st.sampled_from(MARKS) | st.text(max_size=4), max_size=8).map("".join)


@given(text=texts, special=st.booleans())
def test_encoding(both: list[tuple[Tokenizer, Any]], text: str, special: bool) -> None:
    for ours, theirs in both:
        assert ours.encode(text, add_special_tokens=special) == theirs.encode(text, add_special_tokens=special)


@given(data=st.data(), skip=st.booleans())
def test_decoding(both: list[tuple[Tokenizer, Any]], data: st.DataObject, skip: bool) -> None:
    for ours, theirs in both:
        ids = data.draw(st.lists(st.integers(0, ours.vocab_size - 1), max_size=12))
        assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(ids, skip_special_tokens=skip)


def test_special_ids(both: list[tuple[Tokenizer, Any]]) -> None:
    for ours, theirs in both:
        assert ours.bos_id == theirs.bos_token_id
        assert ours.eos_ids[0] == theirs.eos_token_id
        assert ours.pad_id == theirs.pad_token_id
        assert ours.vocab_size == len(theirs)


@pytest.mark.parametrize("prompt", [False, True])
def test_conversations(both: list[tuple[Tokenizer, Any]], prompt: bool) -> None:
    talk = [
        {"role": "user", "content": " What is <s> 😀?\n"},
        {"role": "assistant", "content": "A\n\n mapping. "},
        {"role": "user", "content": "Why?"},
    ]
    for ours, theirs in both:
        text = theirs.apply_chat_template(talk, tokenize=False, add_generation_prompt=prompt)
        assert ours.render_chat(talk, add_generation_prompt=prompt) == text
        ids = theirs.apply_chat_template(talk, add_generation_prompt=prompt, return_dict=False)
        assert ours.apply_chat_template(talk, add_generation_prompt=prompt) == ids


@pytest.mark.parametrize(
    "template",
    [
        "{%- for m in messages -%}\n  {{- m.role + ': ' + m['content'] | trim -}}\n{%- endfor -%}",
        "{% for m in messages %}\n  {% if m.role == 'user' %}\nU {{ m.content }}\n  {% endif %}\n{% endfor %}\n end\n",
        "{{ messages | tojson(indent=2) }} {{ tools }} {{ documents }} {{ eos_token }}",
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    ],
)
def test_templates(byte_level: Path, template: str) -> None:
    import transformers

    from lora.text.chat_template import ChatTemplate

    theirs = transformers.AutoTokenizer.from_pretrained(byte_level)
    talk = [{"role": "user", "content": "a <b> é"}, {"role": "assistant", "content": " c"}]
    ours = ChatTemplate(template, {"eos_token": theirs.eos_token})
    expected = theirs.apply_chat_template(talk, chat_template=template, tokenize=False)
    assert ours.render(talk) == expected
