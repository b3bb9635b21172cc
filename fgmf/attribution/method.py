"""What all explainers of this package share: checks before, and one shape of the result."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch

from fgmf.attribution.catalogue import check_parameters, find_explainer
from fgmf.attribution.interface import Attribution
from fgmf.attribution.passes import refuse_nonfinite_rows
from fgmf.attribution.request import Request, make_request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fgmf.classifier import Classifier
    from fgmf.parameters import Value
    from fgmf.types import Images, Labels


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a method made of a request.

    Attributes:
        maps: (n, h, w).
        stages: Intermediate maps (n, h, w) by name.
        diagnostics: (n,) by name.
        found: What the method found by itself, such as a layer, by the parameter's name.
    """

    maps: torch.Tensor
    stages: Mapping[str, torch.Tensor] = field(default_factory=dict)
    diagnostics: Mapping[str, torch.Tensor] = field(default_factory=dict)
    found: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """An explainer whose parameters are its fields, as the catalogue lists them."""

    name: ClassVar[str]

    def __post_init__(self) -> None:
        """Check the parameters.

        Raises:
            InvalidInput: A value that the catalogue does not allow.
        """
        check_parameters(find_explainer(self.name), self._parameters())

    def explain(
        self,
        classifier: Classifier,
        images: Images,
        targets: Labels,
        *,
        keys: Sequence[str] | None = None,
        seed: int = 0,
    ) -> Attribution:
        """Explain one class for each image: see `interface.Explainer.explain`.

        Raises:
            InvalidInput: Images, targets or keys that do not fit together or to the model.
            GradientUnavailable: The method needs gradients and the model has none.
            NonFiniteOutput: The model answered NaN or infinity; names the image's position.

        Cost: stated by each class. Randomness: fixed by seed and keys.
        """
        with classifier.guard(seed=seed):
            started, before = time.perf_counter(), classifier.cost_meter.reading()
            request = make_request(classifier, images, targets, keys, seed)
            answer = self._answer(request)
            seconds = time.perf_counter() - started
            cost = classifier.cost_meter.since(before, seconds=seconds)
        maps = _kept(answer.maps, request)
        zero = (maps.flatten(1) == 0).all(dim=1)
        return Attribution(
            maps=maps,
            targets=request.targets.cpu(),
            method=self.name,
            parameters={**self._parameters(), **answer.found},
            keys=request.keys,
            seed=seed,
            stages={name: _kept(stage, request) for name, stage in answer.stages.items()},
            diagnostics={
                "zero_map": zero.double(),
                **{name: v.detach().cpu().double() for name, v in answer.diagnostics.items()},
            },
            cost=cost,
        )

    @abstractmethod
    def _answer(self, request: Request) -> Answer:
        """Make the maps."""

    def _parameters(self) -> dict[str, Value]:
        return asdict(cast("Any", self))


def _kept(maps: torch.Tensor, request: Request) -> torch.Tensor:
    """Maps on the CPU, in the precision of the images.

    Raises:
        NonFiniteOutput: A map holds NaN or infinity.
    """
    refuse_nonfinite_rows(maps, torch.arange(len(maps)), what="map")
    return maps.detach().to(device="cpu", dtype=request.images.dtype)
