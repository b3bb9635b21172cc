"""The state of a verification: what is damaged or of something else is not gone on from."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest
from interrupted_verifications import interrupt, same, verify
from mask_logs import write_log

from fgmf.errors import InvalidInput
from fgmf.mask_log import MaskLook, VerifySettings, WriterSettings, verify_log
from fgmf.mask_log.spot_checks import SampleChoice

if TYPE_CHECKING:
    from pathlib import Path

    from mask_logs import WrittenLog


@pytest.fixture
def log(tmp_path: Path) -> WrittenLog:
    settings = WriterSettings(segment_bytes=1500, checkpoint_records=2)
    return write_log(tmp_path / "log", streams=("a", "b"), steps=12, settings=settings)


@pytest.mark.parametrize("strike", ["flip", "cut", "version", "empty", "nonsense", "types"])
def test_a_damaged_state_starts_over(log: WrittenLog, tmp_path: Path, strike: str) -> None:
    state, draw = tmp_path / "state", random.Random(strike)
    wanted = verify(log.path, None, head=log.head)
    interrupt(log.path, state, at=9, head=log.head, every=5)
    kept = state.read_bytes()
    for _ in range(5):
        state.write_bytes(_struck(kept, strike, draw))
        found = verify(log.path, state, head=log.head, every=50)
        same(found, wanted)
        said = "another version" if strike == "version" else "damaged"
        assert said in found[0].resumption.started_over


def _struck(kept: bytes, strike: str, draw: random.Random) -> bytes:
    first, _, rest = kept.partition(b"\n")
    at = draw.randrange(len(first) + 1, len(kept))
    document = json.loads(rest)
    if strike == "types":
        entry = document["streams"][0]
        where = draw.choice([entry["follower"], entry["marks"], entry["tally"], entry])
        del where[draw.choice([name for name in where if name != "name"])]
    changed = {
        "cut": kept[:at],
        "empty": b"",
        "flip": kept[:at] + bytes([kept[at] ^ 4]) + kept[at + 1 :],
        "nonsense": _signed(b"[1, 2"),
        "types": _signed(json.dumps(document).encode()),
        "version": kept.replace(b"state/2", b"state/1"),
    }
    return changed[strike]


def _signed(contents: bytes) -> bytes:
    from fgmf.mask_log.verification_state import STATE_FORMAT, _digest

    return STATE_FORMAT + b" " + _digest(contents) + b"\n" + contents


def test_a_state_of_something_else_starts_over(log: WrittenLog, tmp_path: Path) -> None:
    state = tmp_path / "state"
    other = write_log(tmp_path / "other", run="other")
    interrupt(log.path, state, at=3)
    assert verify(other.path, state)[0].resumption.started_over.endswith("another run")
    interrupt(log.path, state, at=3)
    assert verify(log.path, state, head=log.head)[0].resumption.started_over.endswith("head")
    interrupt(log.path, state, at=3)
    look = MaskLook(floor=0.9)
    report = verify_log(log.path, VerifySettings(observers=[look], state=state))
    assert report.resumption.started_over.endswith("policy")
    assert look.samples == report.samples


def test_it_is_kept_outside_the_log_and_nothing_is_written_over(
    log: WrittenLog, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(log.path / "heads" / "state")
    for inside in (log.path / "state", log.path / "streams" / ".." / "x", link):
        with pytest.raises(InvalidInput, match="outside the log"):
            verify_log(log.path, VerifySettings(state=inside))
    precious = tmp_path / "precious"
    precious.write_text("a thesis")
    with pytest.raises(InvalidInput, match="written over"):
        verify_log(log.path, VerifySettings(state=precious))
    assert precious.read_text() == "a thesis"
    with pytest.raises(InvalidInput, match="existing directory"):
        verify_log(log.path, VerifySettings(state=tmp_path / "no" / "state"))


def test_spot_checks_cannot_be_kept(log: WrittenLog, tmp_path: Path) -> None:
    choice = SampleChoice(directory=log.directory, count=1, seed=0)
    with pytest.raises(InvalidInput, match="SampleChoice"):
        verify_log(log.path, VerifySettings(observers=[choice], state=tmp_path / "state"))
