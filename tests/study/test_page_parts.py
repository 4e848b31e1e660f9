"""What a page is put together from: formulas, texts, the modules of the script, the data."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from tinytorch.cli.pages import embedded
from tinytorch.study.page.assembly import Text, bundled, part
from tinytorch.study.page.export import plain
from tinytorch.study.page.mathml import formulas, mathml
from tinytorch.study.page.pages import PATH


def test_a_formula_is_mathml() -> None:
    root = ET.fromstring(mathml(r"y_i = \frac{e^{x_i}}{\sum_k e^{x_k}}"))
    assert [element.tag for element in root[0]] == ["msub", "mo", "mfrac"]
    assert "".join(root.itertext()) == "yi=exi∑kexk"
    assert "munder" in mathml(r"\sum_k x") and "msubsup" in mathml("x_i^2") and "&lt;" in mathml("a < b")


@pytest.mark.parametrize("text", ["{x", "x}", "x_", r"\frac{a}"])
def test_a_brace_too_few_or_too_many_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="formula"):
        mathml(text)


def test_every_formula_and_text_is_well_formed() -> None:
    for name, lines in formulas(part("formulas.txt")).items():
        assert len(lines) > 1 or name == "RMSNorm", name
        assert all(ET.fromstring(line) is not None for line in lines)
    for chapter in PATH.values():
        for name in chapter.texts:
            text = Text.read(name)
            assert text.title and len(text.paragraphs) > 1
            assert ET.fromstring(text.html()).tag == "details"


def test_the_script_is_one_scope_without_imports() -> None:
    script = bundled("main.js")
    assert not re.search(r"^(import|export) ", script, re.MULTILINE)
    assert script.index("// arrays.js") < script.index("// operations.js") < script.index("// main.js")
    names = re.findall(r"^(?:async )?(?:function|const|let|class) (\w+)", script, re.MULTILINE)
    assert len(names) == len(set(names))


def test_data_cannot_end_its_element() -> None:
    data = {"name": "</script><!-- \u2028 & 'x'", "numbers": plain(np.array([1.0, -0.0, np.nan, np.inf, -np.inf, 0.1]))}
    text = embedded(data)
    assert "<" not in text and "&" not in text and text.isascii()
    assert json.loads(text) == data
    assert json.loads(text)["numbers"] == [1, -0.0, "NaN", "Infinity", "-Infinity", 0.1]
