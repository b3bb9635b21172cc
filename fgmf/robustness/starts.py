"""Misclassified images for attacks that walk along the decision boundary from one.

Any image of the sample that the model gives another class is such a start, at no cost; the
nearest one is taken. Where there is none, random images are tried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fgmf.seeding import image_generator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fgmf.attacks.criteria import Criterion
    from fgmf.classifier import Classifier
    from fgmf.types import Images, Logits

_SAFE_MARGIN = 1e-3
"""Starts this close to the decision may flip by rounding: a share of the spread that the logits
of an image have in the middle of the batch, because two classes are never closer than their own."""
_RANDOM_TRIES = 32


def find_starts(  # noqa: PLR0913 - keyword-only parts of one question
    classifier: Classifier,
    images: Images,
    logits: Logits,
    criterion: Criterion,
    *,
    wanted: Sequence[int],
    keys: Sequence[str],
    seed: int,
) -> dict[int, Images]:
    """Find a start for each wanted image.

    Args:
        classifier: For judging random images.
        images: (n, ...) the whole sample.
        logits: (n, classes) its clean logits.
        criterion: For the whole sample.
        wanted: Positions of the images that need a start.
        keys: One stable key per image of the sample.
        seed: Fixes the random images.

    Returns:
        Start image by position; positions without one are missing.

    Cost: none where the sample has a start; else `_RANDOM_TRIES` forwards for the image.
    """
    safe = _decided(logits).nonzero().flatten()
    flat = images.flatten(1)
    starts = {}
    for position in wanted:
        one = criterion.of(slice(position, position + 1))
        pool = safe[one.broken(logits[safe])] if len(safe) else safe
        if len(pool):
            gaps = (flat[pool] - flat[position]).square().sum(dim=1)
            starts[position] = images[pool[gaps.argmin()]]
            continue
        found = _random_start(classifier, images[position], one, keys[position], seed)
        if found is not None:
            starts[position] = found
    return starts


def accept_starts(
    classifier: Classifier, offered: Mapping[int, Images], criterion: Criterion
) -> dict[int, Images]:
    """Return those of the offered starts that are starts for this model.

    Args:
        classifier: Judges them.
        offered: Image by position.
        criterion: For the whole sample.

    Cost: one forward pass per offered image.
    """
    if not offered:
        return {}
    positions = list(offered)
    logits = classifier.logits_in_batches(torch.stack([offered[at] for at in positions]))
    good = criterion.of(torch.tensor(positions)).broken(logits).tolist()
    return {at: offered[at] for at, holds in zip(positions, good, strict=True) if holds}


def _decided(logits: Logits) -> torch.Tensor:
    top = logits.topk(2, dim=1).values
    spread = (logits.max(dim=1).values - logits.min(dim=1).values).median()
    return (top[:, 0] - top[:, 1]) > _SAFE_MARGIN * spread


def _random_start(
    classifier: Classifier, image: Images, criterion: Criterion, key: str, seed: int
) -> Images | None:
    lower, upper = classifier.bounds
    generator = image_generator(seed, "start", key)
    noise = generator.random((_RANDOM_TRIES, *image.shape), dtype="float32")
    candidates = (torch.from_numpy(noise) * (upper - lower) + lower).to(image.dtype)
    logits = classifier.logits_in_batches(candidates)
    hits = (criterion.broken(logits) & _decided(logits)).nonzero().flatten()
    return candidates[hits[0]] if len(hits) else None
