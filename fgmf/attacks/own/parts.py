"""Rows in parts: halved where memory runs out, and down to the row that makes the model raise.

    largest = all rows
    for each part of at most `largest` rows:
        answer                                      -> the part with its answer
        memory ran out                              -> largest = half of the part; again
        anything else was raised                    -> both halves; a single row has failed

How large a part may be is remembered. Answers do not depend on the parts but through the rounding
of the model.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from fgmf.classifier.memory import is_out_of_memory, release_memory
from fgmf.errors import BudgetSpent, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, kw_only=True)
class Raised:
    """What stands in place of the answer about a single row: what the model raised."""

    error: Exception


class Parts:
    """Asks about rows in parts, and remembers how many rows fit into memory.

    Attributes:
        largest: Most rows in a part; None until memory has run out.
    """

    def __init__(self) -> None:
        self.largest: int | None = None

    def answers(
        self, count: int, ask: Callable[[slice], _Answer]
    ) -> Iterator[tuple[slice, _Answer | Raised]]:
        """Ask about rows 0 to `count`.

        Args:
            count: Number of rows.
            ask: Called with a part; called again with smaller ones, so that it must not leave
                half a result behind.

        Yields:
            Each part, in order, with its answer; a part of one row also with what was raised.

        Raises:
            BudgetSpent: From `ask`.
            InvalidInput: Memory runs out for a single row.
        """
        pending = deque([slice(0, count)] if count else [])
        while pending:
            part = pending.popleft()
            width = part.stop - part.start
            if self.largest is not None and width > self.largest:
                middle = part.start + self.largest
                pending.extendleft([slice(middle, part.stop), slice(part.start, middle)])
                continue
            answer = self._tried(part, ask)
            if isinstance(answer, Raised) and width > 1:
                middle = part.start + width // 2
                pending.extendleft([slice(middle, part.stop), slice(part.start, middle)])
            elif answer is None:
                pending.appendleft(part)
            else:
                yield part, answer

    def _tried(self, part: slice, ask: Callable[[slice], _Answer]) -> _Answer | Raised | None:
        """The answer, what was raised, or None where memory ran out."""
        try:
            return ask(part)
        except BudgetSpent:
            raise
        except Exception as error:
            if not is_out_of_memory(error):
                return Raised(error=error)
            width = part.stop - part.start
            if width == 1:
                message = (
                    "expected memory for at least one image, but it ran out at batch size 1; "
                    "use a smaller model or input, or a device with more memory"
                )
                raise InvalidInput(message) from error
            self.largest = width // 2
        release_memory()
        return None
