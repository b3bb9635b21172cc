"""Checkpoints: the whole state of a training in one file, which is there whole or not at all.

every `seconds`, or every so many updates, and at the end:
    state between two updates -> bytes, behind their digest -> temporary name -> fsync -> rename
with several processes: all at once, as soon as one of them is late
    state of each -> bytes -> the first process -> one file with all of them -> the same

The digest is compared before anything is read. They are loaded as tensors and plain values
(`weights_only`); nothing in them is executed.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import time
import zipfile
from typing import TYPE_CHECKING, Any, Final

import torch

from fgmf.canonical import write_atomically
from fgmf.errors import InvalidInput, StaleEvidence
from fgmf.training.callbacks import Callback

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fgmf.training.run import TrainingRun

_FORMAT: Final = "fgmf-checkpoint/2"
_HEAD: Final = len(_FORMAT) + 1 + 64 + 1
"""Form, blank, SHA-256 of what follows in hexadecimal digits, end of the line."""


class CheckpointWriter(Callback):
    """Writes checkpoints; the last of the callbacks, so that it has what the others keep.

    Args:
        path: One file, replaced each time.
        identity: What the training is, by name: digests of recipe, data, first weights. A
            checkpoint of another training is refused by them.
        seconds: Between two checkpoints.
        updates: Updates between two checkpoints, besides; None goes by time alone.

    Raises:
        InvalidInput: An interval that is none.
    """

    def __init__(
        self,
        path: Path,
        identity: Mapping[str, str],
        *,
        seconds: float = 60.0,
        updates: int | None = None,
    ) -> None:
        if not seconds > 0 or (updates is not None and updates < 1):
            raise InvalidInput(f"expected intervals above 0, got {seconds!r} and {updates!r}")
        self._path, self._identity = path, dict(identity)
        self._seconds, self._updates = seconds, updates
        self._last = time.monotonic()

    def after_update(self, run: TrainingRun) -> None:
        """Write, if it is time."""
        due = time.monotonic() - self._last >= self._seconds
        due = due or (self._updates is not None and run.step % self._updates == 0)
        peers = run.settings.peers
        if due if peers is None else peers.any(due):
            self._write(run)

    def end(self, run: TrainingRun) -> None:
        """Write the end, so that nothing is trained again."""
        self._write(run)

    def _write(self, run: TrainingRun) -> None:
        peers, head = run.settings.peers, {"identity": self._identity}
        if peers is None:
            write_atomically(self._path, _sealed(_bytes_of({**head, "state": run.state_dict()})))
        else:
            states = peers.collected(_bytes_of(run.state_dict()))
            if peers.rank == 0:
                kept = [torch.frombuffer(bytearray(state), dtype=torch.uint8) for state in states]
                write_atomically(self._path, _sealed(_bytes_of({**head, "states": kept})))
        self._last = time.monotonic()


def read_checkpoint(path: Path, identity: Mapping[str, str]) -> dict[str, Any]:
    """Read the state of a training.

    Args:
        path: The file.
        identity: Of the training that goes on.

    Returns:
        What :meth:`TrainingRun.load_state_dict` takes, on the CPU.

    Raises:
        StaleEvidence: The file is damaged, of another form, or of another training.
    """
    document = _read(path, identity)
    if "state" not in document:
        raise _other_processes(path, len(document["states"]), 1)
    state: dict[str, Any] = document["state"]
    return state


def read_shared_checkpoint(path: Path, identity: Mapping[str, str], count: int) -> list[bytes]:
    """Read the states of a training of several processes.

    Args:
        path: The file.
        identity: Of the training that goes on.
        count: Of the processes that go on.

    Returns:
        What :func:`state_of` takes, by rank.

    Raises:
        StaleEvidence: The file is damaged, of another form, of another training, or of another
            number of processes.
    """
    document = _read(path, identity)
    states = document.get("states", [None])
    if "states" not in document or len(states) != count:
        raise _other_processes(path, len(states), count)
    return [state.numpy().tobytes() for state in states]


def state_of(data: bytes) -> dict[str, Any]:
    """What :meth:`TrainingRun.load_state_dict` takes, of one process's bytes."""
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state


def _bytes_of(document: Mapping[str, Any]) -> bytes:
    stream = io.BytesIO()
    torch.save(dict(document), stream)
    return stream.getvalue()


def _other_processes(path: Path, kept: int, own: int) -> StaleEvidence:
    return StaleEvidence(
        f"expected a checkpoint of {own} process(es) at {path}, got one of {kept}; go on with as "
        "many, or start anew"
    )


def _sealed(data: bytes) -> bytes:
    return _head_of(data) + data


def _head_of(data: bytes | memoryview) -> bytes:
    return f"{_FORMAT} {hashlib.sha256(data).hexdigest()}\n".encode()


def _read(path: Path, identity: Mapping[str, str]) -> dict[str, Any]:
    anew = "put it back from a copy, or start anew (fgmf train --restart)"
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StaleEvidence(f"expected a checkpoint at {path}, got: {reason}") from error
    head, body = data[:_HEAD], memoryview(data)[_HEAD:]
    if not head.startswith(f"{_FORMAT} ".encode()):
        raise StaleEvidence(
            f"expected a checkpoint of the form {_FORMAT} at {path}, got another, or a damaged "
            f"one; {anew}"
        )
    if head != _head_of(body):
        raise StaleEvidence(f"expected a whole checkpoint at {path}, got a damaged one; {anew}")
    try:
        document = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise StaleEvidence(
            f"expected a checkpoint at {path} with nothing but tensors and plain values, got "
            f"{type(error).__name__}; {anew}"
        ) from error
    if not isinstance(document, dict) or not isinstance(document.get("identity"), dict):
        raise StaleEvidence(f"expected a checkpoint at {path}, got a file of something else")
    own, kept = dict(identity), document["identity"]
    changed = [name for name in sorted({*own, *kept}) if own.get(name) != kept.get(name)]
    if changed:
        raise StaleEvidence(
            f"expected a checkpoint of this training at {path}, got one that differs in "
            f"{', '.join(changed)}; start anew, or train into another directory"
        )
    return document
