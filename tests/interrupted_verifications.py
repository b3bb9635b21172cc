"""Verifications of mask logs that are interrupted, for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fgmf.mask_log import LogReport, MaskLook, VerifySettings, verify_log

if TYPE_CHECKING:
    from pathlib import Path

    from fgmf.mask_log.streams import ObservedBatch


class Interrupted(Exception):
    """What stops a verification in the middle of a record."""


class StopsAt(MaskLook):
    """Looks at masks, and is interrupted at some batch."""

    at = -1
    seen = 0

    def take(self, batch: ObservedBatch) -> None:
        """Look, or stop."""
        super().take(batch)
        self.seen += 1
        if self.seen == self.at:
            raise Interrupted


def _look(at: int = -1) -> StopsAt:
    look = StopsAt(floor=0.3)
    look.at = at
    return look


def verify(
    path: Path, state: Path | None, *, head: str | None = None, at: int = -1, every: int = 1
) -> tuple[LogReport, StopsAt]:
    """Verify with a look at masks; keep states in between."""
    look = _look(at)
    report = verify_log(
        path,
        VerifySettings(head=head, observers=[look], state=state, state_records=every),
    )
    return report, look


def interrupt(path: Path, state: Path, *, at: int, head: str | None = None, every: int = 1) -> None:
    """Begin to verify, and stop in the middle of a batch."""
    with pytest.raises(Interrupted):
        verify(path, state, head=head, at=at, every=every)


def same(found: tuple[LogReport, StopsAt], wanted: tuple[LogReport, StopsAt]) -> None:
    """Hold what was found, and seen, against what another verification found."""
    assert replace(found[0], resumption=None) == replace(wanted[0], resumption=None)
    assert found[1].as_document() == wanted[1].as_document()
