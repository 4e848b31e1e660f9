from __future__ import annotations

import signal

import pytest

from programs.stopping import StopSignal


def test_the_second_ctrl_c_interrupts_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), StopSignal() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.requested
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
