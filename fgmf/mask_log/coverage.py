"""What one mask layer of a stream logged of what the stream must hold.

    steps     every step from 0 on                       kept as intervals
    samples   every sample, `times` times                kept as one count per expected sample

Memory grows with what the manifest names and with gaps, never with the log.

A step that is done again after a crash is logged again. With `times` above 1 its samples count
once, as they were the first time: twice would stand in for a later epoch.

An erased row does not say whose it was. Rows that were erased together were of one sample, so they
explain entries of one sample only, and no more than it must have.
"""

from __future__ import annotations

import base64
import zlib
from bisect import bisect_left, bisect_right
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from fgmf.mask_log.manifest import Expectation
    from fgmf.mask_log.rows import Layout
    from fgmf.types import Json

SHOWN: Final = 5
"""Most examples that a line names."""
_NARROW: Final = 255
"""Most that a count of one byte holds."""


class Coverage:
    """Counts what one layer logged."""

    def __init__(self, expected: Expectation) -> None:
        """Take what is asked for.

        Args:
            expected: Of the stream.
        """
        self._expected = expected
        self._steps, self._again, self._attempt = Intervals(), Intervals(), 0
        self._erased: Counter[int] = Counter()
        self._counts: dict[int | str, int] = dict.fromkeys(expected.sample_ids, 0)
        wide = expected.times > _NARROW
        self._most = 2**32 - 1 if wide else _NARROW
        self._dense = bytearray((4 if wide else 1) * (expected.sample_count or 0))
        self._numbers = memoryview(self._dense).cast("I" if wide else "B")
        self._needs_ids = bool(self._counts) or expected.sample_count is not None

    def take(
        self,
        step: int,
        attempt: int,
        layout: Layout,
        rows: Sequence[bytes | None],
        erasures: Iterable[int],
    ) -> list[str]:
        """Take the first forward pass of a step.

        Args:
            step: Its number.
            attempt: How often the stream was taken up again before.
            layout: Of the rows.
            rows: None for those that were erased.
            erasures: Of each of these, the number of the erasure.

        Returns:
            What is wrong with it.
        """
        if attempt != self._attempt:
            self._attempt, self._again = attempt, Intervals()
        wrong = []
        if not self._again.add(step):
            wrong.append(f"step {step} was logged twice in one attempt")
        counts = self._steps.add(step) or self._expected.times == 1
        if counts:
            self._erased.update(erasures)
        if self._needs_ids:
            known = [self._count(layout.decode_id(row), counts) for row in rows if row is not None]
            if not all(known):
                wrong.append("samples were logged that the manifest does not name")
        return wrong

    def as_document(self) -> dict[str, Json]:
        """Return what was counted as JSON."""
        return {
            "again": self._again.as_document(),
            "attempt": self._attempt,
            "counts": list(self._counts.values()),
            "erased": [[number, count] for number, count in self._erased.items()],
            "numbers": base64.b64encode(zlib.compress(self._dense, 1)).decode(),
            "steps": self._steps.as_document(),
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Take up what was counted before.

        Args:
            document: What `as_document` returned, of one that was asked for the same.

        Raises:
            ValueError: It is of another one.
        """
        stored = zlib.decompressobj()
        numbers = stored.decompress(base64.b64decode(document["numbers"]), len(self._dense) + 1)
        if len(numbers) != len(self._dense):
            raise ValueError("expected as many counts as samples")
        self._dense[:] = numbers
        self._counts = dict(zip(self._counts, document["counts"], strict=True))
        self._steps = Intervals.from_document(document["steps"])
        self._again = Intervals.from_document(document["again"])
        self._attempt = int(document["attempt"])
        self._erased = Counter({int(number): int(count) for number, count in document["erased"]})

    def missing(self) -> Iterator[str]:
        """Say what is missing, in lines that stand alone."""
        expected = self._expected
        if expected.steps is not None:
            yield from _missing_steps(list(self._steps.gaps(expected.steps)), expected.steps)
        yield from self._missing_samples()

    def _count(self, identity: int | str, counts: bool) -> bool:  # noqa: FBT001 - once per row
        """Count a sample; False if the manifest does not name it."""
        expected = self._expected
        if expected.sample_count is not None:
            position = identity - expected.first_sample if type(identity) is int else -1
            if not 0 <= position < expected.sample_count:
                return False
            if counts and self._numbers[position] < self._most:
                self._numbers[position] += 1
            return True
        if identity not in self._counts:
            return False
        self._counts[identity] += counts
        return True

    def _missing_samples(self) -> Iterator[str]:
        times = self._expected.times
        sizes = sorted(min(count, times) for count in self._erased.values())
        shown: list[int | str] = []
        needs: list[int] = []  # one more than there are erasures is enough to know
        total = 0
        first = self._expected.first_sample
        for identity, count in self._counts.items() or enumerate(self._numbers, first):
            if count < times:
                total += times - count
                if len(shown) < SHOWN:
                    shown.append(identity)
                if len(needs) <= len(sizes):
                    needs.append(times - count)
        if are_explained(needs, sizes):
            return
        entries = (len(self._counts) or len(self._numbers)) * times
        more = ", ..." if len(shown) == SHOWN else ""
        erased = f"; {len(sizes)} erasures explain fewer" if sizes else ""
        line = f"{total} of {entries} expected entries of samples are missing"
        yield f"{line}: {', '.join(map(repr, shown))}{more}{erased}"


def are_explained(needs: Sequence[int], sizes: Sequence[int]) -> bool:
    """Say whether erasures can be why entries are missing.

    Args:
        needs: Of each sample that is short, how many entries.
        sizes: Of each erasure, how many entries it took; all of one sample.
    """
    left = sorted(sizes)
    for need in sorted(needs, reverse=True):
        open_ = need
        while open_ > 0:
            if not left:
                return False
            enough = bisect_left(left, open_)  # the smallest that is enough, else the largest
            open_ -= left.pop(min(enough, len(left) - 1))
    return True


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


def _missing_steps(gaps: Sequence[tuple[int, int]], expected: int) -> Iterator[str]:
    if not gaps:
        return
    total = sum(stop - start for start, stop in gaps)
    shown = [str(a) if b == a + 1 else f"{a}-{b - 1}" for a, b in gaps[:SHOWN]]
    more = ", ..." if len(gaps) > SHOWN else ""
    yield f"{total} of {expected} steps are missing: {', '.join(shown)}{more}"
