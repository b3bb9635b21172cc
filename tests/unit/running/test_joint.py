"""What processes agree on before a gate is measured."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fgmf.errors import FactoryFailed, ProcessLost
from fgmf.gates import RobustnessGate
from fgmf.running.joint import load_in_all, local_device

GATE = RobustnessGate(norm="linf", epsilon=0.1, min_robust_accuracy=0.5, name="mine")


class Scripted:
    """The first of two processes; the other says what the test wants."""

    rank, count = 0, 2

    def __init__(self, other: dict[str, Any]) -> None:
        self.other = other
        self.told: Any = None

    def exchange(self, document: Any) -> list[Any]:
        self.told = document
        return [document, self.other]


def test_what_all_could_load_is_used() -> None:
    assert load_in_all(Scripted({"gate": "mine", "error": None}), lambda: 7, GATE) == 7


def test_what_another_could_not_load_is_an_error_here_too() -> None:
    with pytest.raises(FactoryFailed, match="in process 1: no weights"):
        load_in_all(Scripted({"gate": "mine", "error": "no weights"}), lambda: 7, GATE)


@pytest.mark.parametrize("other", [{"gate": "another", "error": None}, {"subject": "x"}])
def test_another_gate_is_an_error(other: dict[str, Any]) -> None:
    with pytest.raises(ProcessLost, match="process 1 at gate 'mine'"):
        load_in_all(Scripted(other), lambda: 7, GATE)


def test_what_this_process_cannot_load_is_told_and_raised() -> None:
    def load() -> int:
        raise KeyError("weights.pt")

    processes = Scripted({"gate": "mine", "error": None})
    with pytest.raises(KeyError, match="weights"):
        load_in_all(processes, load, GATE)
    assert processes.told == {"gate": "mine", "error": "KeyError: 'weights.pt'"}


@pytest.mark.parametrize(
    ("device", "local_rank", "expected"),
    [
        ("auto", "1", "cuda:1"),
        ("cuda", "5", "cuda:1"),
        ("cuda", "", "cuda:0"),
        ("cpu", "1", "cpu"),
        ("cuda:0", "1", "cuda:0"),
    ],
)
def test_each_process_of_a_machine_has_its_own_gpu(
    monkeypatch: pytest.MonkeyPatch, device: str, local_rank: str, expected: str
) -> None:
    monkeypatch.setenv("LOCAL_RANK", local_rank)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert local_device(device, Scripted({})) == expected
    assert local_device(device, None) == device
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert local_device(device, Scripted({})) == device
