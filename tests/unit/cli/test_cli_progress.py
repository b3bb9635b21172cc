"""Progress bars: on a terminal, and nowhere else."""

from __future__ import annotations

import io

import pytest

from fgmf.cli.progress import ProgressLine
from fgmf.gates.specification import Progress


class Stream(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def drawn(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> str:
    stream = Stream(terminal=terminal)
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    line = ProgressLine()
    with line.shown("gate [red]"):
        line.update(Progress(gate="gate [red]", stage="PGD", done=30, total=60))
    line.update(Progress(gate="gate", stage="after the end", done=1, total=2))
    return stream.getvalue()


def test_a_terminal_shows_gate_stage_and_share(monkeypatch: pytest.MonkeyPatch) -> None:
    output = drawn(monkeypatch, terminal=True)
    assert "gate [red]: PGD" in output
    assert "50%" in output
    assert "after the end" not in output


def test_elsewhere_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(monkeypatch, terminal=False) == ""


def test_an_interruption_takes_the_bar_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Stream(terminal=True))
    line = ProgressLine()
    with pytest.raises(KeyboardInterrupt), line.shown("gate"):
        raise KeyboardInterrupt
    line.update(Progress(gate="gate", stage="late", done=1, total=2))
