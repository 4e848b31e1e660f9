from __future__ import annotations

import signal
import threading

import pytest

from tinytorch.training.stopping import ALL, StopSignal


def test_the_second_ctrl_c_interrupts_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), StopSignal() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.requested
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_the_first_ctrl_c_only_asks() -> None:
    with StopSignal() as stop:
        assert not stop.requested
        signal.raise_signal(signal.SIGINT)
        assert stop.requested
    assert not StopSignal().requested


@pytest.mark.parametrize("number", ALL)
def test_what_asks_a_program_to_end_is_as_ctrl_c(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with StopSignal() as stop:
            signal.raise_signal(number)
            assert stop.requested
            if number != signal.SIGINT:  # a closed terminal may send it twice: what is being saved is saved
                signal.raise_signal(number)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(number) is signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN)  # as nohup has it
        with StopSignal() as stop:
            signal.raise_signal(number)
            assert not stop.requested
    finally:
        signal.signal(number, before)


def test_off_the_main_thread_nothing_changes() -> None:
    before = signal.getsignal(signal.SIGINT)

    def in_thread() -> None:
        with StopSignal() as stop:
            assert not stop.requested
            seen.append(signal.getsignal(signal.SIGINT))

    seen: list[object] = []
    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert seen == [before]


def test_one_signal_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignal(signal.SIGINT):
        assert signal.getsignal(signal.SIGTERM) is before
