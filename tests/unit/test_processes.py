"""Who the processes of a run are, as a launcher says it."""

from __future__ import annotations

import pytest
import torch

from fgmf.errors import InvalidInput, ProcessLost
from fgmf.processes import GlooProcesses, joined_processes, launched


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"WORLD_SIZE": "1"}, False),
        ({"WORLD_SIZE": ""}, False),
        ({"WORLD_SIZE": "2"}, True),
    ],
)
def test_one_process_is_no_launch(variables: dict[str, str], *, expected: bool) -> None:
    assert launched(variables) is expected


def test_alone_there_is_nobody_to_join(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined_processes() as processes:
        assert processes is None


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"WORLD_SIZE": "2"}, "got no RANK, MASTER_ADDR, MASTER_PORT"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost"}, "got no MASTER_PORT"),
        (
            {"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"},
            "RANK as a number below WORLD_SIZE, got '2' and '2'",
        ),
        (
            {"WORLD_SIZE": "x", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"},
            "got '0' and 'x'",
        ),
    ],
)
def test_half_a_launch_is_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str
) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInput, match=words), joined_processes():
        pass


def test_without_the_others_there_is_no_answer() -> None:
    with pytest.raises(ProcessLost, match="all 2 processes"):
        GlooProcesses(rank=0, count=2).exchange({"a": 1})


@pytest.mark.parametrize(("local_rank", "expected"), [("0", [0]), ("5", [1]), ("", [])])
def test_each_process_takes_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch, local_rank: str, expected: list[int]
) -> None:
    """Two GPUs, more processes: they share in turn."""
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    for name, value in {
        "RANK": "0",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": "1",
        "LOCAL_RANK": local_rank,
    }.items():
        monkeypatch.setenv(name, value)
    with joined_processes():
        pass
    assert taken == expected
