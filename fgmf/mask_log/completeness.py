"""Is everything there that the manifest asks for? A join, stream by stream.

    steps     every step from 0 on                       kept as intervals
    samples   every sample, `times` times                kept as one count per expected sample
    weights   only weights that the manifest allows
    skipped   only for reasons that the manifest states
    lost      nothing

Memory grows with what the manifest names and with gaps, never with the log. Only the first
forward pass of a step counts: a step whose model runs again (an attack) is logged again, not more
complete.
"""

from __future__ import annotations

import base64
import zlib
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fgmf.mask_log.manifest import Expectation
    from fgmf.mask_log.rows import Layout
    from fgmf.types import Json

FORWARD: Final = "forward"
"""Purpose of a pass that a step or a request is about."""
_SHOWN: Final = 5
_NARROW: Final = 255
"""Most that a count of one byte holds."""


class Intervals:
    """A set of whole numbers, small where they are dense."""

    def __init__(self) -> None:
        """Start empty."""
        self._starts: list[int] = []
        self._ends: list[int] = []

    def as_document(self) -> list[Json]:
        """Return the beginnings, and the ends."""
        return [list(self._starts), list(self._ends)]

    @classmethod
    def from_document(cls, document: Sequence[Sequence[int]]) -> Intervals:
        """Rebuild the set."""
        made = cls()
        starts, ends = document
        made._starts, made._ends = list(starts), list(ends)
        return made

    def add(self, number: int) -> bool:
        """Add a number; False if it was there."""
        starts, ends = self._starts, self._ends
        if ends and number == ends[-1]:
            ends[-1] += 1
            return True
        at = bisect_right(starts, number)
        if at and number < ends[at - 1]:
            return False
        joins_left = at > 0 and ends[at - 1] == number
        joins_right = at < len(starts) and starts[at] == number + 1
        if joins_left and joins_right:
            ends[at - 1] = ends.pop(at)
            starts.pop(at)
        elif joins_left:
            ends[at - 1] += 1
        elif joins_right:
            starts[at] -= 1
        else:
            starts.insert(at, number)
            ends.insert(at, number + 1)
        return True

    def gaps(self, end: int) -> Iterator[tuple[int, int]]:
        """Yield what is missing from 0 to `end` - 1, as (first, one after the last)."""
        position = 0
        for start, stop in zip(self._starts, self._ends, strict=True):
            if position < min(start, end):
                yield position, min(start, end)
            position = max(position, stop)
        if position < end:
            yield position, end


class StreamTally:
    """Counts what one stream holds of what it must hold."""

    def __init__(self, expected: Expectation, *, skips: Sequence[str]) -> None:
        """Take what is asked for.

        Args:
            expected: Of the stream.
            skips: Reasons for which passes may be left out.
        """
        self._expected = expected
        self._skips = frozenset(skips)
        self._steps: dict[int, Intervals] = {}
        self._all_steps = Intervals()
        self._weights = frozenset(expected.weights)
        self._counts: dict[int | str, int] = dict.fromkeys(expected.sample_ids, 0)
        wide = expected.times > _NARROW
        self._most = 2**32 - 1 if wide else _NARROW
        self._dense = bytearray((4 if wide else 1) * (expected.sample_count or 0))
        self._numbers = memoryview(self._dense).cast("I" if wide else "B")
        self._needs_ids = bool(self._counts) or expected.sample_count is not None
        self.erased = self._erased_forward = 0
        self.complaints: dict[str, int] = {}

    def take(
        self, body: Mapping[str, Any], layout: Layout, rows: Sequence[bytes | None], attempt: int
    ) -> None:
        """Take a batch.

        Args:
            body: Of its record.
            layout: Of its rows.
            rows: None for those that were erased.
            attempt: How often the stream was taken up again before.
        """
        erased = rows.count(None)
        self.erased += erased
        self.take_skipped(body["skipped"])
        if self._weights and body["weights"] not in self._weights:
            self._complain("masks were made by weights that the manifest does not allow")
        if body["pass"] or body["purpose"] != FORWARD:
            return
        if not self._steps.setdefault(attempt, Intervals()).add(body["step"]):
            self._complain(f"step {body['step']} was logged twice in one attempt")
        self._all_steps.add(body["step"])
        self._erased_forward += erased
        if self._needs_ids:
            for row in rows:
                if row is not None:
                    self._count(layout.decode_id(row))

    def as_document(self) -> dict[str, Json]:
        """Return what was counted as JSON."""
        return {
            "all_steps": self._all_steps.as_document(),
            "complaints": [[line, count] for line, count in self.complaints.items()],
            "counts": list(self._counts.values()),
            "erased": self.erased,
            "erased_forward": self._erased_forward,
            "numbers": base64.b64encode(zlib.compress(self._dense, 1)).decode(),
            "steps": [[attempt, steps.as_document()] for attempt, steps in self._steps.items()],
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Take up what was counted before.

        Args:
            document: What `as_document` returned, of a tally that was asked for the same.

        Raises:
            ValueError: It is of another tally.
        """
        stored = zlib.decompressobj()
        numbers = stored.decompress(base64.b64decode(document["numbers"]), len(self._dense) + 1)
        if len(numbers) != len(self._dense):
            raise ValueError("expected as many counts as samples")
        self._dense[:] = numbers
        self._counts = dict(zip(self._counts, document["counts"], strict=True))
        self._steps = {int(a): Intervals.from_document(s) for a, s in document["steps"]}
        self._all_steps = Intervals.from_document(document["all_steps"])
        self.complaints = {str(line): int(count) for line, count in document["complaints"]}
        self.erased = int(document["erased"])
        self._erased_forward = int(document["erased_forward"])

    def take_skipped(self, skipped: Mapping[str, int]) -> None:
        """Take passes that were left out, by their reasons."""
        for reason in skipped.keys() - self._skips:
            self._complain(f"passes were left out for {reason!r:.60}, which the manifest names not")

    def missing(self) -> Iterator[str]:
        """Say what is missing, in lines that stand alone."""
        yield from (
            line if count == 1 else f"{line} ({count} times)"
            for line, count in self.complaints.items()
        )
        expected = self._expected
        if expected.steps is not None:
            yield from _missing_steps(list(self._all_steps.gaps(expected.steps)), expected.steps)
        short, total = self._short_samples()
        if total > self._erased_forward:
            shown = ", ".join(map(repr, short))
            more = ", ..." if len(short) == _SHOWN else ""
            yield (
                f"{total} of {self._expected_rows()} expected entries of samples are missing: "
                f"{shown}{more}"
            )

    def _expected_rows(self) -> int:
        count = len(self._counts) or len(self._numbers)
        return count * self._expected.times

    def _count(self, identity: int | str) -> None:
        expected = self._expected
        if expected.sample_count is not None:
            position = identity - expected.first_sample if type(identity) is int else -1
            if not 0 <= position < expected.sample_count:
                self._complain("samples were logged that the manifest does not name")
            elif self._numbers[position] < self._most:
                self._numbers[position] += 1
        elif identity in self._counts:
            self._counts[identity] += 1
        else:
            self._complain("samples were logged that the manifest does not name")

    def _short_samples(self) -> tuple[list[int | str], int]:
        """The first samples that are logged too rarely, and entries missing in all."""
        times, first = self._expected.times, self._expected.first_sample
        short: list[int | str] = []
        total = 0
        counted = self._counts.items() if self._counts else enumerate(self._numbers, first)
        for identity, count in counted:
            if count < times:
                total += times - count
                if len(short) < _SHOWN:
                    short.append(identity)
        return short, total

    def _complain(self, line: str) -> None:
        if line in self.complaints or len(self.complaints) < _SHOWN:
            self.complaints[line] = self.complaints.get(line, 0) + 1


def _missing_steps(gaps: Sequence[tuple[int, int]], expected: int) -> Iterator[str]:
    if not gaps:
        return
    total = sum(stop - start for start, stop in gaps)
    shown = [str(a) if b == a + 1 else f"{a}-{b - 1}" for a, b in gaps[:_SHOWN]]
    more = ", ..." if len(gaps) > _SHOWN else ""
    yield f"{total} of {expected} steps are missing: {', '.join(shown)}{more}"
