"""Threads that stand for the processes of a run, and what a measurement says beside its cost."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from fgmf.robustness import RobustnessMeasurement


class Meeting:
    """What processes say to each other, among threads."""

    def __init__(self, count: int) -> None:
        self.count, self.said = count, [""] * count
        self.barrier = threading.Barrier(count, timeout=60)

    def member(self, rank: int) -> Member:
        return Member(self, rank)


class Member:
    def __init__(self, meeting: Meeting, rank: int) -> None:
        self.meeting, self.rank, self.count = meeting, rank, meeting.count

    def exchange(self, document: Any) -> list[Any]:
        self.meeting.said[self.rank] = json.dumps(document, allow_nan=False)
        self.meeting.barrier.wait()
        answers = [json.loads(text) for text in self.meeting.said]
        self.meeting.barrier.wait()
        return answers


def together(count: int, work: Callable[[Member], Any]) -> list[Any]:
    """Results or exceptions of all, by rank."""
    meeting = Meeting(count)

    def one(rank: int) -> Any:
        try:
            return work(meeting.member(rank))
        except Exception as error:  # noqa: BLE001 - looked at by the test
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def facts(result: RobustnessMeasurement) -> dict[str, Any]:
    """Everything but the cost."""
    names = ("labels", "predicted", "clean_correct", "broken", "undecided", "failed")
    return {
        "flags": [getattr(result, name).tolist() for name in names],
        "records": [
            (r.plan.label, r.attacked, r.broken, r.unverified, r.no_start, r.failures, r.radii)
            for r in result.records
        ],
        "examples": [
            (e.position, e.predicted, e.attack, e.run, e.image.tolist(), _listed(e.start))
            for e in result.examples
        ],
        "verified": result.verified,
    }


def _listed(start: torch.Tensor | None) -> Any:
    return None if start is None else start.tolist()
