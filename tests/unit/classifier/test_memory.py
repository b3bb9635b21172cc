from __future__ import annotations

import ctypes
from typing import Any

import pytest
import torch

from fgmf.classifier import memory
from fgmf.classifier.memory import batched, is_out_of_memory, return_freed
from fgmf.errors import InvalidInput

ERRORS = [
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes"),
    RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    torch.OutOfMemoryError("whatever it says"),
    MemoryError(),
]


@pytest.fixture(autouse=True)
def released(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often memory was given back; really collecting garbage takes long."""
    calls: list[str] = []
    monkeypatch.setattr("fgmf.classifier.memory.release_memory", lambda: calls.append("released"))
    return calls


class Device:
    """Runs slices of at most `room` items, and remembers what it was asked."""

    def __init__(self, room: int, error: BaseException) -> None:
        self.room, self.error = room, error
        self.asked: list[int] = []

    def run(self, part: slice) -> list[int]:
        self.asked.append(part.stop - part.start)
        if part.stop - part.start > self.room:
            raise self.error
        return list(range(part.start, part.stop))


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_memory_that_runs_out_is_recognised(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("mat1 and mat2 shapes"), ValueError("out of memory"), KeyboardInterrupt()],
    ids=repr,
)
def test_other_errors_are_not_taken_for_it(error: BaseException) -> None:
    assert not is_out_of_memory(error)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_batches_halve_and_every_item_comes_once(error: Exception, released: list[str]) -> None:
    device = Device(3, error)
    parts = list(batched(10, 8, device.run))
    assert [item for _, result in parts for item in result] == list(range(10))
    assert [(part.start, part.stop) for part, _ in parts] == [(i, i + 2) for i in range(0, 10, 2)]
    assert device.asked == [8, 4, 2, 2, 2, 2, 2]  # and it does not try large ones again
    assert len(released) == 2


def test_slices_are_as_large_as_allowed() -> None:
    device = Device(100, MemoryError())
    assert [part.stop - part.start for part, _ in batched(10, 4, device.run)] == [4, 4, 2]


def test_one_item_is_halved_from_its_own_width() -> None:
    """Of a last slice of 3 with a batch size of 100, half is 1, not 50."""
    device = Device(1, MemoryError())
    list(batched(3, 100, device.run))
    assert device.asked == [3, 1, 1, 1]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_no_memory_for_one_item_is_said(error: Exception) -> None:
    with pytest.raises(InvalidInput, match=r"at least one image.*batch size 1") as caught:
        list(batched(4, 4, Device(0, error).run))
    assert caught.value.__cause__ is error


def test_other_errors_pass_through_at_once() -> None:
    device = Device(0, RuntimeError("size mismatch"))
    with pytest.raises(RuntimeError, match="size mismatch"):
        list(batched(4, 4, device.run))
    assert device.asked == [4]


def test_of_nothing_nothing_is_run() -> None:
    assert list(batched(0, 4, Device(0, MemoryError()).run)) == []


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A C library in place of the system's, looked up afresh."""

    class Library:
        trims: list[int]

    found = Library()
    found.trims = []
    monkeypatch.setattr(ctypes, "CDLL", lambda _: found)
    memory._trimmer.cache_clear()
    yield found
    memory._trimmer.cache_clear()


def test_what_was_freed_is_returned_where_the_library_can(
    library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fgmf.classifier.memory.sys.platform", "linux")
    library.malloc_trim = library.trims.append
    return_freed()
    return_freed()
    assert library.trims == [0, 0]


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_nothing_happens_where_it_cannot(
    library: Any, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fgmf.classifier.memory.sys.platform", platform)
    if platform != "linux":
        library.malloc_trim = library.trims.append
    return_freed()
    assert library.trims == []
