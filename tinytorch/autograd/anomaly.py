"""Anomaly detection: if backward computes NaN, or raises, name the forward's operation and the user's line."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from ..engine.function import Function
from ..engine.mode import mode
from ..engine.runner import EAGER, Runner
from ..grad_mode import Switch
from ..ops.fused import FusedFunction
from ..warning import warn_user

_PACKAGE = str(Path(__file__).parents[1]) + os.sep
_HIDDEN = (_PACKAGE + "engine" + os.sep, __file__)  # the machinery that every operation passes through

Place = tuple[str, int, str]  # a call: the file, the line and the function that it is in


class AnomalyDetection(Runner):
    """Records where each node was made, and checks what its backward returns.

    It sits directly above Eager, so that it sees what really runs; other runners may come and go above it.
    """

    def __init__(self, check_nan: bool) -> None:
        self.check_nan = check_nan
        self._running: Function | None = None  # the node whose backward is running and applies operations

    def apply(self, operation: type[Function], inputs: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Record on the new node, if there is one, the calls that led here."""
        results = super().apply(operation, inputs, settings)
        for result in results if isinstance(results, tuple) else (results,):
            node = getattr(result, "_grad_fn", None)
            if node is not None and not hasattr(node, "called_at"):
                node.called_at, node.induced_by = _calls(), self._running
        return results

    def backward(self, node: Function, grads: list[Any]) -> list[Any]:
        """Raise RuntimeError if the result contains NaN."""
        if isinstance(self._running, FusedFunction):  # its composite is being differentiated, so errors are its own
            return super().backward(node, grads)
        running, self._running = self._running, node
        try:
            results = super().backward(node, grads)
            for number, (edge, result) in enumerate(zip(node.edges, results)):  # noqa: B905 - the walk checks this
                # In our own operations, a gradient that nobody needs may be NaN; it is thrown away.
                looked_at = self.check_nan and result is not None and (edge is not None or node.on_tensors)
                if looked_at and np.isnan(result.array).any():
                    raise RuntimeError(
                        f"Function '{node.name()}' returned nan values in its {number}th output.{_where(node)}"
                    )
        except Exception:
            _warn_of(node)
            raise
        finally:
            self._running = running
        return results


def _calls() -> list[Place]:
    """The calls that led here, outermost first. Their source is looked up when it is printed."""
    calls = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(_HIDDEN):
            calls.append((code.co_filename, frame.f_lineno, code.co_name))
        frame = frame.f_back
    return calls[::-1]


def _where(node: Any) -> str:
    """The forward's operation, and the last line outside this package that led to it."""
    places = [place for place in getattr(node, "called_at", ()) if not place[0].startswith(_PACKAGE)]
    if not places:
        return ""
    frame = traceback.FrameSummary(*places[-1])
    line = f": {frame.line}" if frame.line else ""
    return f" Its forward, {type(node).__name__}, is called in {frame.filename}, line {frame.lineno}{line}"


def _warn_of(node: Any) -> None:
    """Warn about an error in a backward, with the calls of its forward and of the backwards that led to it."""
    if not hasattr(node, "called_at"):
        warn_user(
            f"Error detected in {node.name()}. No forward pass information available. Enable detect anomaly during "
            "forward pass for more information."
        )
        return
    warn_user(f"Error detected in {node.name()}. Traceback of forward call that caused the error:\n{_printed(node)}")
    above = node.induced_by
    while hasattr(above, "called_at"):
        warn_user(
            f"\n\nPrevious calculation was induced by {above.name()}. Traceback of forward call that induced the "
            f"previous calculation:\n{_printed(above)}"
        )
        above = above.induced_by


def _printed(node: Any) -> str:
    return "".join(traceback.format_list([traceback.FrameSummary(*place) for place in node.called_at]))


def _found() -> tuple[Any, Any]:
    """The detector, or Eager if there is none, and the runner above it, if any."""
    above, runner = None, mode.run
    while runner is not EAGER and not isinstance(runner, AnomalyDetection):
        above, runner = runner, runner.below
    return above, runner


def _set(check_nan: bool | None) -> bool | None:
    """Switch detection on, with or without the check for NaN, or off (None). Returns the previous setting."""
    above, runner = _found()
    before = runner.check_nan if isinstance(runner, AnomalyDetection) else None
    if before != check_nan:
        watcher: Any = EAGER
        if check_nan is not None:
            watcher = AnomalyDetection(check_nan)
            mode.run.admit(watcher)
            watcher.below = EAGER
        if above is None:
            mode.run = watcher
        else:
            above.below = watcher
    return before


class detect_anomaly(Switch):
    """Inside, every operation records who called it, and backward raises RuntimeError at the first NaN it computes.

    The error names the operation and the line of the forward. It, and any other error inside a backward, comes with a
    warning that shows the calls that led to the operation. With check_nan=False nothing is checked, and only exceptions
    are explained. For debugging: everything takes several times as long. Context manager and decorator, for one thread.
    """

    def __new__(cls, check_nan: bool = True) -> Any:
        """The argument is a bool, never a function."""
        return super().__new__(cls)

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = bool(check_nan)
        self._before: list[bool | None] = []  # a stack, since an instance may be entered again while it is active
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for "
            "debugging.",
            stacklevel=2,
        )

    def _recreate_cm(self) -> detect_anomaly:
        """A new switch for each call of a decorated function, without another warning."""
        again = object.__new__(detect_anomaly)
        again.check_nan, again._before = self.check_nan, []
        return again

    def __enter__(self) -> None:
        self._before.append(_set(self.check_nan))

    def __exit__(self, *exception: object) -> None:
        _set(self._before.pop())


class set_detect_anomaly:
    """Switches anomaly detection on or off in this thread: from the call on, or within a with block."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = _set(bool(check_nan) if mode else None)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        _set(self._before)


def is_anomaly_enabled() -> bool:
    """Whether anomaly detection is on in this thread."""
    return _found()[1] is not EAGER
