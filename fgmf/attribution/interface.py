"""What every explainer is given, and what it gives back, whoever carries it out: values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from fgmf.errors import InvalidInput
from fgmf.verdict import Cost

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from fgmf.classifier import Classifier
    from fgmf.parameters import Value
    from fgmf.types import Images, Labels


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """Maps of a batch of images: which pixels speak for the target class, and how much.

    Attributes:
        maps: (n, h, w) floating point on the CPU, finite; positive where a pixel speaks for the
            class, negative where it speaks against it, for methods that know a sign.
        targets: (n,) int64, the class that each map is about.
        method: Name of the explainer.
        parameters: What it was run with; what it found by itself, such as a layer, by name.
        stages: Intermediate maps (n, h, w) by name, in the order in which they were made; empty
            for methods of one step.
        diagnostics: (n,) numbers by name, one per image; ``zero_map`` is there always: 1 where
            the map is zero everywhere, which says nothing about the image.
        cost: Passes and seconds of the whole batch.
        seed: With the keys it fixes all draws.
        keys: One stable name per image.
    """

    maps: torch.Tensor
    targets: Labels
    method: str
    parameters: Mapping[str, Value]
    keys: tuple[str, ...]
    seed: int
    stages: Mapping[str, torch.Tensor] = field(default_factory=dict)
    diagnostics: Mapping[str, torch.Tensor] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)

    def __post_init__(self) -> None:
        """Check that everything is about the same images.

        Raises:
            InvalidInput: Shapes that do not fit together.
        """
        if self.maps.ndim != 3 or not self.maps.is_floating_point():
            got = f"{self.maps.dtype} {tuple(self.maps.shape)}"
            raise InvalidInput(f"expected maps of shape (n, h, w) in floating point, got {got}")
        n = len(self.maps)
        lengths = {
            "targets": len(self.targets),
            "keys": len(self.keys),
            **{f"diagnostics[{k}]": len(v) for k, v in self.diagnostics.items()},
        }
        wrong = [f"{name} ({length})" for name, length in lengths.items() if length != n]
        wrong += [k for k, v in self.stages.items() if v.shape != self.maps.shape]
        if wrong:
            raise InvalidInput(f"expected one row for each of {n} maps, got {', '.join(wrong)}")


class Explainer(Protocol):
    """A method that says which pixels a decision rests on. Its `repr` reproduces it."""

    @property
    def name(self) -> str:
        """Name in gate files and reports."""
        ...

    def explain(
        self,
        classifier: Classifier,
        images: Images,
        targets: Labels,
        *,
        keys: Sequence[str] | None = None,
        seed: int = 0,
    ) -> Attribution:
        """Explain one class for each image.

        Args:
            classifier: Comes back as it was.
            images: (n, c, h, w) floating point within the classifier's bounds, any n >= 1.
            targets: (n,) the class to explain for each.
            keys: One stable name per image; None: a digest of its pixels.
            seed: With the keys it fixes all draws.

        Returns:
            One map per image, the same whatever the batch size and whichever images are beside
            it, but for rounding inside the model.

        Raises:
            InvalidInput: Images, targets or keys that do not fit together or to the model.
            GradientUnavailable: The method needs gradients and the model has none.
            NonFiniteOutput: The model answered NaN or infinity; names the image's position.
        """
        ...
