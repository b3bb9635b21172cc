"""Go on with a verification from its state, or say why not, and begin again."""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING, Any

from fgmf import __version__
from fgmf.errors import BrokenRecord, InvalidInput, MaskLogUnreadable
from fgmf.mask_log.marks import Changed
from fgmf.mask_log.report import Resumption
from fgmf.mask_log.verification_state import ResumableObserver, UnusableState, read_state

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from fgmf.mask_log.anchoring import Anchoring
    from fgmf.mask_log.batches import Tombstone
    from fgmf.mask_log.manifest import Manifest
    from fgmf.mask_log.streams import Observer, StreamVerifier
    from fgmf.types import Json


def resumable_observers(observers: Sequence[Observer]) -> list[ResumableObserver]:
    """Return observers whose tallies can be kept.

    Raises:
        InvalidInput: Those of one cannot.
    """
    kept: list[ResumableObserver] = []
    for observer in observers:
        if not isinstance(observer, ResumableObserver):
            message = "expected observers whose tallies can be kept in a state"
            raise InvalidInput(
                f"{message}, got {type(observer).__name__}; verify without a state, in one go"
            )
        kept.append(observer)
    return kept


def identity_of(
    manifest: Manifest,
    anchoring: Anchoring,
    tombstones: Mapping[str, Mapping[int, Mapping[int, Tombstone]]],
    observers: Sequence[Observer],
) -> dict[str, Json]:
    """Return all that a state must have been kept for, by what it is called in messages."""
    return {
        "run": manifest.run,
        "manifest": manifest.digest,
        "version of fgmf": __version__,
        "head": anchoring.head,
        "public key": anchoring.public_key,
        "policy": [observer.identity() for observer in resumable_observers(observers)],
        "set of erased samples": hashlib.sha256(repr(tombstones).encode()).hexdigest(),
    }


def take_up(
    path: Path,
    identity: Mapping[str, Json],
    names: Sequence[str],
    *,
    new: Callable[[str], StreamVerifier],
    observers: Sequence[Observer],
) -> tuple[list[StreamVerifier], Resumption]:
    """Take up what a state says was verified, if it is shown to be the same bytes.

    All or nothing: whatever does not fit, the verification begins again as if there were no state.

    Args:
        path: Of the state.
        identity: What it must have been kept for.
        names: Streams of the log, in the order that they are read in.
        new: Returns a stream that nothing was read of.
        observers: Take up their tallies.

    Returns:
        The first streams, as far as they were read, and how it went.

    Cost: hashes every byte that was verified before, once.
    """
    tallies = resumable_observers(observers)
    fresh = [observer.as_document() for observer in tallies]
    try:
        document = read_state(path, identity)
        if document is None:
            return [], Resumption()
        streams = _streams(document["streams"], names, new)
        for observer, kept in zip(tallies, document["observers"], strict=True):
            observer.restore(kept)
        return streams, Resumption(records=sum(stream.state.seq for stream in streams))
    except (Changed, UnusableState, MaskLogUnreadable) as error:
        why = str(error)
    except (ArithmeticError, AttributeError, BrokenRecord, LookupError, TypeError, ValueError):
        why = "the state is damaged"
    except zlib.error:
        why = "the state is damaged"
    for observer, kept in zip(tallies, fresh, strict=True):
        observer.restore(kept)
    return [], Resumption(started_over=why)


def _streams(
    kept: Sequence[Mapping[str, Any]], names: Sequence[str], new: Callable[[str], StreamVerifier]
) -> list[StreamVerifier]:
    if [entry["name"] for entry in kept] != list(names[: len(kept)]):
        raise Changed("the log has other streams than before")
    streams = []
    for entry in kept:
        stream = new(entry["name"])
        stream.restore(entry)
        streams.append(stream)
    return streams
