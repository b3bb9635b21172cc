"""How a stream is written, and what could not be written."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Final, Literal

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.types import Json

Durability = Literal["checkpoint", "record"]
MEBIBYTE: Final = 2**20


@dataclass(frozen=True, kw_only=True)
class WriterSettings:
    """How a stream is written.

    Attributes:
        durability: ``checkpoint`` brings files to the disk at checkpoints, in a thread of its own:
            acknowledged records survive the process, a power cut may take those since the last
            checkpoint. ``record`` brings each record to the disk before it is acknowledged.
        checkpoint_records: Records between checkpoints.
        checkpoint_seconds: Most seconds between checkpoints, while records are written.
        segment_bytes: Bytes of records and arrays after which a new segment begins.
        segment_seconds: Seconds after which a new segment begins; None never.
        on_error: ``raise`` stops the caller where a record cannot be written; ``continue`` lets
            it go on, and counts what is lost.
    """

    durability: Durability = "checkpoint"
    checkpoint_records: int = 1000
    checkpoint_seconds: float = 60.0
    segment_bytes: int = 512 * MEBIBYTE
    segment_seconds: float | None = None
    on_error: Literal["raise", "continue"] = "raise"

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            InvalidInput: A number is not positive, or a word is unknown.
        """
        numbers = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in numbers.items():
            if not isinstance(value, str) and value is not None and not value > 0:
                raise InvalidInput(f"expected {name} > 0, got {value!r:.40}")
        if self.durability not in {"checkpoint", "record"}:
            raise InvalidInput(f"expected durability checkpoint or record, got {self.durability!r}")
        if self.on_error not in {"raise", "continue"}:
            raise InvalidInput(f"expected on_error raise or continue, got {self.on_error!r}")


@dataclass(kw_only=True)
class Losses:
    """Records that could not be written and are not yet recorded as lost."""

    batches: int = 0
    samples: int = 0
    steps: list[int] = field(default_factory=list)
    reason: str = ""

    def count(self, samples: int, step: int | None, reason: str) -> None:
        """Count one record.

        Args:
            samples: Samples that it was about.
            step: Their step; None where it was about none.
            reason: Why it could not be written.
        """
        self.batches += 1
        self.samples += samples
        self.reason = reason
        if step is not None:
            self.steps = [min([*self.steps, step]), max([*self.steps, step])]

    def body(self) -> dict[str, Json]:
        """Return the body of a record of kind `lost`."""
        first, last = self.steps or (0, 0)
        return {
            "batches": self.batches,
            "first_step": first,
            "last_step": last,
            "reason": self.reason,
            "samples": self.samples,
        }
