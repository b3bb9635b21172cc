"""How long and how fast a training runs, and how a budget grows in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fgmf.errors import InvalidInput


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast the optimizer (AdamW) runs.

    Attributes:
        epochs: Passes over the images.
        batch_size: Images per update; the last batch of an epoch may be smaller.
        peak_learning_rate: Height of the one cycle.
        rise: Share of the updates over which the rate rises linearly; then it falls as a cosine.
        weight_decay: AdamW's.
        gradient_clip: Largest norm of the gradient of all parameters; None does not clip.
        average_decay: Of the exponential moving average of the weights, with which the model
            ends; None keeps the last weights.
    """

    epochs: int = 14
    batch_size: int = 128
    peak_learning_rate: float = 4e-3
    rise: float = 0.3
    weight_decay: float = 1e-4
    gradient_clip: float | None = 5.0
    average_decay: float | None = 0.98

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with.

        Raises:
            InvalidInput: A value outside its range.
        """
        check_positive(self, "peak_learning_rate")
        check_counts(self, "epochs", "batch_size")
        check_not_negative(self, "weight_decay")
        decays = {"rise": self.rise, "average_decay": self.average_decay or 0.0}
        for name, share in decays.items():
            if not 0.0 <= share < 1.0:
                raise InvalidInput(f"expected {name} from 0 up to, without, 1, got {share!r}")
        if self.gradient_clip is not None:
            check_positive(self, "gradient_clip")

    def learning_rate(self, progress: float) -> float:
        """Return the rate of the update at `progress`, from 0 to 1, through the training."""
        if progress < self.rise:
            return self.peak_learning_rate * progress / self.rise
        fallen = (progress - self.rise) / (1.0 - self.rise)
        return self.peak_learning_rate * (1.0 + math.cos(math.pi * fallen)) / 2.0


def grown(epsilon: float, warm_up: float, progress: float) -> float:
    """The budget at `progress`: it grows from 0 over the share `warm_up` of the training."""
    return epsilon * min(1.0, progress / warm_up) if warm_up > 0.0 else epsilon


def check_positive(owner: object, *names: str) -> None:
    """Refuse attributes that are not above 0.

    Raises:
        InvalidInput: One is not, or is infinite or NaN.
    """
    for name in names:
        value = getattr(owner, name)
        if not (math.isfinite(value) and value > 0):
            raise InvalidInput(f"expected {name} above 0, got {value!r}")


def check_not_negative(owner: object, *names: str) -> None:
    """Refuse attributes that are below 0.

    Raises:
        InvalidInput: One is, or is infinite or NaN.
    """
    for name in names:
        value = getattr(owner, name)
        if not (math.isfinite(value) and value >= 0):
            raise InvalidInput(f"expected {name} from 0 on, got {value!r}")


def check_counts(owner: object, *names: str) -> None:
    """Refuse attributes that count nothing.

    Raises:
        InvalidInput: One is no whole number above 0.
    """
    for name in names:
        value = getattr(owner, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InvalidInput(f"expected {name} as a whole number above 0, got {value!r}")


def check_warm_up(owner: object) -> None:
    """Refuse a `warm_up` at whose end the training is over, or that is no share.

    Raises:
        InvalidInput: It is not from 0 up to 1.
    """
    value = getattr(owner, "warm_up")  # noqa: B009 - of any recipe
    if not 0.0 <= value <= 1.0:
        raise InvalidInput(f"expected warm_up from 0 to 1, got {value!r}")
