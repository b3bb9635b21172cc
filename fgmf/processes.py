"""Several processes that work on one run, on one machine or on many: who I am, and what all said.

The processes are those that ``torchrun`` (or any other launcher that sets RANK, WORLD_SIZE,
MASTER_ADDR and MASTER_PORT) started. They exchange JSON documents over gloo, whatever device the
models are on: outcomes are small, and nothing that one process sends is ever executed by another.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

from fgmf.errors import InvalidInput, ProcessLost

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fgmf.types import Json

_NEEDED: Final = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_PATIENCE: Final = timedelta(hours=24)
"""How long a process waits for another, which may have much harder images."""


class Processes(Protocol):
    """One of several processes, as it sees itself and the others."""

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""

    @property
    def count(self) -> int:
        """How many there are."""

    def exchange(self, document: Json) -> list[Json]:
        """Send a document to all, and return what all sent, by rank.

        Every process must call it equally often.

        Raises:
            ProcessLost: Another process is gone.
        """


@dataclass(frozen=True, kw_only=True)
class GlooProcesses:
    """Processes that are joined by torch.distributed's gloo backend."""

    rank: int
    count: int

    def exchange(self, document: Json) -> list[Json]:
        """Send a document to all, and return what all sent, by rank.

        Args:
            document: Any JSON value; floats must be finite.

        Returns:
            One document per process.

        Raises:
            ProcessLost: Another process is gone, or did not answer for a day.

        Cost: two collective calls; memory of `count` times the longest document.
        """
        import torch
        from torch import distributed

        data = json.dumps(document, allow_nan=False).encode()
        try:
            lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
            distributed.all_gather(lengths, torch.tensor([len(data)]))
            longest = max(int(length) for length in lengths)
            padded = torch.frombuffer(bytearray(data.ljust(longest)), dtype=torch.uint8)
            parts = [torch.empty_like(padded) for _ in range(self.count)]
            distributed.all_gather(parts, padded)
        except (RuntimeError, ValueError) as error:
            message = f"expected an answer of all {self.count} processes, got: {error}"
            raise ProcessLost(message) from error
        return [json.loads(part.numpy().tobytes()) for part in parts]


def launched(environment: Mapping[str, str] | None = None) -> bool:
    """Say whether a launcher started several processes for this run.

    Args:
        environment: Variables; None takes those of the process.
    """
    variables = os.environ if environment is None else environment
    return variables.get("WORLD_SIZE", "1").strip() not in {"", "1"}


@contextmanager
def joined_processes() -> Iterator[Processes | None]:
    """Join the processes that a launcher started; None where this one is alone.

    Raises:
        InvalidInput: The launcher left out a variable, or set one to no number.
        ProcessLost: The others cannot be reached.
    """
    if not launched():
        yield None
        return
    rank, count = _place()
    from torch import distributed

    try:
        distributed.init_process_group("gloo", rank=rank, world_size=count, timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        message = f"expected to join {count} processes as number {rank}, got: {error}"
        raise ProcessLost(message) from error
    try:
        _take_device(os.environ.get("LOCAL_RANK", ""))
        yield GlooProcesses(rank=rank, count=count)
    finally:
        distributed.destroy_process_group()


def _take_device(local_rank: str) -> None:
    """Let ``cuda`` mean another GPU in each process of a machine, in turn."""
    import torch

    if local_rank.isdecimal() and torch.cuda.is_available():
        torch.cuda.set_device(int(local_rank) % torch.cuda.device_count())


def _place() -> tuple[int, int]:
    missing = [name for name in _NEEDED if not os.environ.get(name)]
    if missing:
        message = (
            f"expected a launcher such as torchrun to set {', '.join(_NEEDED)}, as WORLD_SIZE is "
            f"set, got no {', '.join(missing)}"
        )
        raise InvalidInput(message)
    rank, count = os.environ["RANK"], os.environ["WORLD_SIZE"]
    if not (rank.isdecimal() and count.isdecimal() and int(rank) < int(count)):
        message = f"expected RANK as a number below WORLD_SIZE, got {rank!r} and {count!r}"
        raise InvalidInput(message)
    return int(rank), int(count)
