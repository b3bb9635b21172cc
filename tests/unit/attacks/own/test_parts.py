from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fgmf.attacks.own.parts import Parts, Raised
from fgmf.errors import BudgetSpent, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable


def spans(parts: Parts, count: int, ask: Callable[[slice], object]) -> list[tuple[int, int]]:
    return [(part.start, part.stop) for part, _ in parts.answers(count, ask)]


def test_what_fits_is_asked_at_once() -> None:
    assert spans(Parts(), 9, lambda part: part) == [(0, 9)]
    assert spans(Parts(), 0, lambda part: part) == []


def test_parts_are_halved_where_memory_runs_out_and_stay_so() -> None:
    asked: list[int] = []

    def ask(part: slice) -> None:
        asked.append(part.stop - part.start)
        if asked[-1] > 3:
            raise RuntimeError("CUDA out of memory")

    parts = Parts()
    assert spans(parts, 10, lambda part: ask(part) or part) == [
        (0, 2),
        (2, 4),
        (4, 5),
        (5, 7),
        (7, 9),
        (9, 10),
    ]
    assert asked == [10, 5, 2, 2, 1, 2, 2, 1]
    asked.clear()
    spans(parts, 5, lambda part: ask(part) or part)
    assert asked == [2, 2, 1]


def test_a_row_that_does_not_fit_is_an_error() -> None:
    def ask(part: slice) -> None:
        raise MemoryError

    with pytest.raises(InvalidInput, match="at batch size 1"):
        spans(Parts(), 4, ask)


def test_only_the_row_that_raises_fails() -> None:
    def ask(part: slice) -> slice:
        if part.start <= 5 < part.stop:
            raise KeyError("five")
        return part

    parts = Parts()
    answers = list(parts.answers(8, ask))
    raised = [part for part, answer in answers if isinstance(answer, Raised)]
    assert raised == [slice(5, 6)]
    rows = [row for part, _ in answers for row in range(part.start, part.stop)]
    assert rows == list(range(8))
    assert parts.largest is None


@pytest.mark.parametrize("error", [BudgetSpent("late"), KeyboardInterrupt()], ids=repr)
def test_the_end_is_the_end(error: BaseException) -> None:
    def ask(part: slice) -> None:
        raise error

    with pytest.raises(type(error)):
        spans(Parts(), 4, ask)
