"""A control with a known answer: logits times k decide the same, so attacks must do as well.

Cross-entropy underflows when logits grow, and an attack that climbs it stands still. Measured
robust accuracy that rises with k is an illusion, made by the attack and not by the model.

Source: the scale of logits as a cause of vanishing gradients, Carlini and Wagner 2017; Croce and
Hein 2020. The control itself is ours [R].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fgmf.classifier import Classifier
from fgmf.errors import InvalidInput
from fgmf.robustness import measure_robustness

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fgmf.attacks.criteria import Criterion
    from fgmf.robustness import RobustnessMeasurement, RobustnessPlan
    from fgmf.types import ImageFlags, Images, Logits


@dataclass(frozen=True, kw_only=True)
class ScalingMeasurement:
    """What attacks find on the same decisions at several scales.

    Attributes:
        plain: The model as it is.
        scaled: Its logits multiplied, by the factor.
    """

    plain: RobustnessMeasurement
    scaled: Mapping[float, RobustnessMeasurement]

    def kept(self, scale: float) -> ImageFlags:
        """(n,) False where an image is broken as it is, and not with logits times `scale`."""
        return ~(self.plain.broken & ~self.scaled[scale].broken)


def measure_scaling(
    classifier: Classifier,
    images: Images,
    criterion: Criterion,
    plan: RobustnessPlan,
    *,
    keys: Sequence[str],
    scales: Sequence[float],
) -> ScalingMeasurement:
    """Measure robustness once as it is and once for each scale of the logits.

    Args:
        classifier: Put back as it was afterwards.
        images: (n, ...) float on the CPU, inside the threat's bounds.
        criterion: When an image counts as broken.
        plan: Threat, attacks, seed, deadline.
        keys: One stable key per image.
        scales: Factors above 0.

    Returns:
        One measurement for each.

    Raises:
        InvalidInput: A factor is not above 0; or as :func:`fgmf.robustness.measure_robustness`.

    Cost: that of `measure_robustness`, 1 + len(scales) times.
    Randomness: the plan's seed; every scale sees the same draws.
    """
    for scale in scales:
        if not scale > 0:
            raise InvalidInput(f"expected scales > 0, which decide the same, got {scale}")
    with classifier.guard(seed=plan.seed):
        plain = measure_robustness(classifier, images, criterion, plan, keys=keys)
        scaled = {
            scale: measure_robustness(other, images, criterion, plan, keys=keys)
            for scale, other in ((scale, _scaled(classifier, scale)) for scale in scales)
        }
    return ScalingMeasurement(plain=plain, scaled=scaled)


def _scaled(classifier: Classifier, scale: float) -> Classifier:
    """The classifier with other logits; a callable, because the guard is held already."""
    exact = "float64" if str(classifier.dtype) == "torch.float64" else "float32"
    scaled = Classifier(
        _times(classifier, scale),
        bounds=classifier.bounds,
        device=str(classifier.device),
        dtype=exact,
        batch_size=classifier.batch_size,
    )
    scaled.gradient_available = classifier.gradient_available
    return scaled


def _times(classifier: Classifier, scale: float) -> Callable[[Images], Logits]:
    def scaled(images: Images) -> Logits:
        return classifier.logits(images) * scale

    return scaled
