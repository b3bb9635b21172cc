"""One metric on its way: checked images, maps and parameters, and the model's answers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fgmf.classifier.memory import batched
from fgmf.classifier.outputs import refuse_fixed_logit
from fgmf.errors import InvalidInput, NonFiniteOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from fgmf.classifier import Classifier
    from fgmf.faithfulness.entries import MetricEntry, Output
    from fgmf.faithfulness.replacing import Fill
    from fgmf.faithfulness.scores import ExplainedImages
    from fgmf.parameters import Value
    from fgmf.types import Images, Labels, Logits

_MOST_STEPS = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class MetricTask:
    """What an evaluation works on, inside the classifier's guard.

    Attributes:
        entry: The metric.
        parameters: All of its parameters.
        classifier: The model.
        explained: Images and maps, the images in the classifier's precision.
        seed: With the keys it fixes all draws.
        fill: What replaces removed pixels; None where nothing is removed.
    """

    entry: MetricEntry
    parameters: Mapping[str, Value]
    classifier: Classifier
    explained: ExplainedImages
    seed: int
    fill: Fill | None

    def number(self, name: str) -> int:
        """A whole parameter."""
        return int(self.parameters[name])

    @property
    def pixel_count(self) -> int:
        """Pixels of an image, whatever its channels."""
        return int(math.prod(self.explained.images.shape[-2:]))

    @property
    def features_in_step(self) -> int:
        """Features that one step removes: as asked, or a divisor that makes few enough steps.

        Raises:
            InvalidInput: It does not divide the pixels of an image.
        """
        asked, pixels = self.number("features_in_step"), self.pixel_count
        if asked:
            if pixels % asked:
                message = f"expected features_in_step to divide the {pixels} pixels of an image"
                raise InvalidInput(f"{message}, got {asked}")
            return asked
        least = math.ceil(pixels / _MOST_STEPS)
        return next(size for size in range(least, pixels + 1) if pixels % size == 0)

    def flat_maps(self, *, per_channel: bool) -> NDArray[np.float64]:
        """Maps as (n, features): one value per pixel, or repeated for every channel."""
        maps = self.explained.maps.double()
        if per_channel:
            channels = self.explained.images.shape[1]
            maps = maps[:, None].expand(-1, channels, -1, -1)
        flat: NDArray[np.float64] = maps.flatten(1).numpy().copy()
        return flat

    def answers(self, images: Images, targets: Labels) -> torch.Tensor:
        """Ask for the number of the target class that the metric is about.

        Args:
            images: (m, c, h, w), one batch.
            targets: (m,).

        Returns:
            (m,) float64 on the CPU.

        Raises:
            InvalidInput: It is a logit that is the same whatever the image.
        """
        logits = self.classifier.logits(images.detach()).detach().cpu()
        if self.entry.output == "logit":
            refuse_fixed_logit(logits, targets)
        return target_numbers(logits, targets.cpu(), self.entry.output)

    def answers_to(
        self, count: int, make: Callable[[torch.Tensor], tuple[Images, torch.Tensor]]
    ) -> NDArray[np.float64]:
        """Ask about `count` variants of the images, in full batches.

        Args:
            count: Variants in all.
            make: From numbers of variants (m,) to images (m, c, h, w) and positions of the
                images that they are variants of (m,).

        Returns:
            (count,) answers for the target of each.

        Raises:
            NonFiniteOutput: The model answered NaN or infinity; names the image's position.

        Cost: `count` forward passes.
        """

        def ask(part: slice) -> torch.Tensor:
            images, rows = make(torch.arange(part.start, part.stop))
            answers = self.answers(images, self.explained.targets[rows])
            bad = (~answers.isfinite()).nonzero().flatten()
            if len(bad):
                message = "expected finite answers, got NaN or infinity for a variant of image "
                raise NonFiniteOutput(f"{message}{int(rows[bad[0]])}")
            return answers

        parts = batched(count, self.classifier.batch_size, ask)
        return torch.cat([answers for _, answers in parts]).numpy()


def target_numbers(logits: Logits, targets: Labels, output: Output) -> torch.Tensor:
    """Return the probability or the logit of each target class, in float64.

    Raises:
        InvalidInput: A target is no class of the model.
    """
    if int(targets.max()) >= logits.shape[1] or int(targets.min()) < 0:
        message = f"expected targets from 0 to {logits.shape[1] - 1}, got "
        raise InvalidInput(f"{message}{int(targets.min())} to {int(targets.max())}")
    wide = logits.double()
    own = wide.gather(1, targets[:, None])[:, 0]
    return own if output == "logit" else (own - wide.logsumexp(dim=1)).exp()
