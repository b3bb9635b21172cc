"""What explainers do with a classifier: cases of the promise that the model comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from tiny_models import make_images

from fgmf.attribution.building import explainer
from fgmf.explaining.comparing import compare_explainers
from fgmf.explaining.showing import ShownImages, explain_and_measure
from fgmf.gates.explanations import ExplainerSpecification
from fgmf.gates.robustness_explaining import explained_examples
from fgmf.gates.subject import MeasuredImages
from fgmf.robustness.plan import Example

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.classifier import Classifier

IMAGES = make_images(6, margin=0.05)
TARGETS = torch.arange(6) % 3
SHOWN = ShownImages(images=IMAGES, targets=TARGETS)


def explained(classifier: Classifier, name: str) -> None:
    """Run one explainer as it is meant to be run."""
    explainer(name).explain(classifier, IMAGES, TARGETS)


def _broken(classifier: Classifier) -> None:
    """What a robustness gate shows of images that it broke."""
    keys = [f"{at:016x}" for at in range(6)]
    indices = list(range(6))
    measured = MeasuredImages(
        images=IMAGES, labels=TARGETS, indices=indices, keys=keys, class_sizes={}, dataset_size=6
    )
    examples = [Example(position=at, image=IMAGES[at], predicted=1, attack="any") for at in (0, 3)]
    explained_examples(
        ExplainerSpecification(name="gradient"), classifier, examples, measured, seed=0
    )


ATTRIBUTION_CASES: dict[str, Callable[[Classifier], object]] = {
    # Every explainer has its own: test_explainers_restore.py.
    "fgmf.explaining.comparing.compare_explainers": lambda c: compare_explainers(
        c, IMAGES, TARGETS, {"gradient": explainer("gradient")}
    ),
    "fgmf.explaining.showing.explain_and_measure": lambda c: explain_and_measure(
        explainer("gradient"), c, SHOWN, seed=0
    ),
    "fgmf.gates.robustness_explaining.explained_examples": _broken,
    "fgmf.attribution.method.Method.explain": lambda c: explained(c, "gradient"),
}
NOT_ATTRIBUTING = {
    "fgmf.attribution.interface.Explainer.explain",  # a protocol
    "fgmf.attribution.request.Request.__init__",  # values only
    "fgmf.explaining.showing.write_explanations",  # asks for its name and bounds
    "fgmf.attribution.request.make_request",  # looks at values only
}
