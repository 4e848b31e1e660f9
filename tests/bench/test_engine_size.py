"""What bench.engine_size counts."""

from __future__ import annotations

from pathlib import Path

from bench.engine_size import code_lines, measure

SOURCE = '''"""Of the module,
of two lines."""

# A comment.
import math  # and one behind code


class A:
    """Of the class."""

    text = """a string
    of two lines"""

    def f(self, x):  # ARRAYS
        """mode.tape"""
        return (
            x

            + "# no comment"
        )
'''


def test_lines_of_code() -> None:
    assert list(code_lines(SOURCE)) == [5, 8, 11, 12, 14, 16, 17, 19, 20]
    assert code_lines(SOURCE)[5] == "import math  " and code_lines(SOURCE)[19].endswith('"# no comment"')


def test_a_small_tree(tmp_path: Path) -> None:
    """With an import circle through a type-only import, and one within a function, which is none."""
    package = tmp_path / "tinytorch"
    for name, text in {
        "__init__.py": "from .engine.tensor import ones\n",
        "engine/__init__.py": "",
        "engine/tensor.py": (
            "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from ..ops import add\n\n"
            "class T:\n"
            "    def __mul__(self, other): return self\n"
            "    def sum(self): return self\n"
            "    def softmax(self, dim): return self.sum()\n"
            "    def backward(self, g=None): return [self.sum() for _ in range(2)]\n\n"
            "def ones(*shape, requires_grad=False): return T()\n"
        ),
        "ops/__init__.py": "from . import add\n",
        "ops/add.py": "from ..kernels import gemm\n\ndef f(): return launch(gemm, like=1)  # owned(\n",
        "kernels/__init__.py": "",
        "kernels/gemm.py": "def launch(f):\n    from ..ops import add\n",
        "compiled/tape.py": "ARRAYS = mode.tape\n",
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    found = measure(tmp_path)
    assert found["engine, lines of code"] == found["engine: engine/tensor.py"] == "9"
    assert found["mentions of the tape outside"] == found["mentions: ops/"] == "2"
    assert "mentions: compiled/" not in found
    assert found["largest import circle, modules"] == "0"
    calls = {name.partition(":")[0]: value for name, value in found.items() if "entered" in name}
    assert calls == {"(a*a).sum().backward()": "5, 3, 1", "x.softmax(-1), backward(g)": "5, 3, 1"}
    (package / "ops" / "add.py").write_text("from ..engine import tensor\n")
    assert measure(tmp_path)["largest import circle, modules"] == "2"
