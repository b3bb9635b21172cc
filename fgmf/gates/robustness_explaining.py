"""What decisions rest on before and after an attack, of images that a robustness gate broke.

For each of the first broken images, two explanations by the explainer that the gate names: of the
clean image for the class that it is predicted as, and of the adversarial one for its class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from fgmf.attribution.building import explainer
from fgmf.errors import FgmfError
from fgmf.gates.explanation_pictures import change_picture, stage_pictures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.classifier import Classifier
    from fgmf.gates.explanations import ExplainerSpecification
    from fgmf.gates.subject import MeasuredImages
    from fgmf.robustness.plan import Example
    from fgmf.types import Json

_MOST_IMAGES: Final = 4
_MOST_STRIPS: Final = 2


def explained_examples(
    specification: ExplainerSpecification,
    classifier: Classifier,
    examples: Sequence[Example],
    measured: MeasuredImages,
    *,
    seed: int,
) -> dict[str, Json]:
    """Explain the first broken images, clean and adversarial.

    Args:
        specification: Names the explainer.
        classifier: Comes back as it was.
        examples: Of the gate.
        measured: The images that it measured.
        seed: Of the gate; with the keys of the images it fixes all draws.

    Returns:
        Evidence: `pictures`; or `no_explanations`, the reason, where the explainer could not
        explain them. The verdict does not depend on it.

    Cost: the explainer's, twice for each of at most four images, and a forward pass of each.
    """
    shown = list(examples[:_MOST_IMAGES])
    if not shown:
        return {"pictures": []}
    method = explainer(specification.name, specification.parameters)
    at = [example.position for example in shown]
    clean = measured.images[at]
    attacked = torch.stack([example.image for example in shown])
    keys = [measured.keys[position] for position in at]
    became = torch.tensor([example.predicted for example in shown])
    try:
        with classifier.guard(seed=seed):
            was = classifier.predict(clean)
            before = method.explain(classifier, clean, was, keys=keys, seed=seed)
            after = method.explain(classifier, attacked, became, keys=keys, seed=seed)
    except FgmfError as error:
        return {"no_explanations": str(error)}
    captions = [
        f"#{measured.indices[position]}: {int(old)} → {int(new)}, {example.attack}"
        for position, old, new, example in zip(at, was, became, shown, strict=True)
    ]
    pictures: list[Json] = [
        change_picture(
            f"Broken images and what decisions rest on ({before.method})",
            (clean, attacked),
            (before.maps, after.maps),
            captions,
            classifier.bounds,
            changed="adversarial",
        )
    ]
    for attribution, images, when in ((before, clean, "before"), (after, attacked, "after")):
        title = f"{attribution.method}, stage by stage, {when} the attack"
        strips = captions[:_MOST_STRIPS]
        pictures += stage_pictures(attribution, images, strips, classifier.bounds, title=title)
    return {"pictures": pictures}
