"""Substitute models: small networks that learn to answer as the gated model does.

    images, labels = the gate's images, the gated model's own predictions
    repeat: train a ConvNet from its first weights
            images += clip(images + step * sign(gradient of the surrogate's own class)),
            labels += the gated model's predictions on them

Source: Papernot et al. 2017, "Practical black-box attacks against machine learning" (Jacobian-based
augmentation). Deviation: only the first images are moved in each round, not the moved ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import torch

from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.classifier import Classifier
from fgmf.classifier.steadiness import refuse_nonfinite
from fgmf.datasets import Samples
from fgmf.errors import InvalidInput
from fgmf.seeding import derive_seed
from fgmf.training import Schedule, StandardRecipe, train

if TYPE_CHECKING:
    from fgmf.types import Images, Logits
    from fgmf.verdict import Cost

_ROUNDS: Final = 2
"""Rounds of moved images after the first training."""
_STEP: Final = 0.1
"""How far they are moved, as a share of the range of the pixels."""
_BATCH: Final = 64
_FEWEST_UPDATES: Final = 300
_FEWEST_EPOCHS: Final = 10
_SMALLEST_SIDE: Final = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Surrogate:
    """A trained substitute.

    Attributes:
        classifier: Ready to be attacked, with the bounds of the gated model.
        cost: Passes of the training, none of them the gated model's.
    """

    classifier: Classifier
    cost: Cost


def train_surrogate(classifier: Classifier, images: Images, *, seed: int) -> Surrogate:
    """Train a substitute for a model, by asking it for its predictions.

    Args:
        classifier: The gated model; put back as it was afterwards.
        images: (n, c, side, side) all images of the gate, within the bounds.
        seed: The gate's seed.

    Returns:
        The substitute, on the device of the model. Images and model fix it, batches do not.

    Raises:
        InvalidInput: The images are none that the substitute can take.
        NonFiniteOutput: The model's logits are NaN or infinite.

    Cost: three forward passes of the gated model per image; the training of a small network.
    Randomness: fixed by the seed.
    """
    _check(images)
    own_seed = derive_seed(seed, "surrogate")
    with torch.enable_grad(), classifier.guard(seed=seed):
        asked, answers = images.clone(), _answers(classifier, images)
        surrogate, cost = _trained(classifier, asked, answers, seed=own_seed)
        for number in range(1, _ROUNDS + 1):
            moved = _moved(surrogate, images, answers[: len(images)], sign=(-1) ** number)
            asked = torch.cat([asked, moved])
            answers = torch.cat([answers, _answers(classifier, moved)])
            cost += surrogate.cost_meter.reading()
            surrogate, more = _trained(classifier, asked, answers, seed=own_seed)
            cost += more
    return Surrogate(classifier=surrogate, cost=replace(cost, seconds=0.0))


def _check(images: Images) -> None:
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[2] != shape[3] or shape[2] < _SMALLEST_SIDE:
        expected = (
            f"square images (n, c, side, side), side >= {_SMALLEST_SIDE}, to train a surrogate"
        )
        raise InvalidInput(f"expected {expected}, got {shape}; name a [[model]] as the surrogate")


def _answers(classifier: Classifier, images: Images) -> Logits:
    return refuse_nonfinite(classifier.logits_in_batches(images))


def _trained(
    classifier: Classifier, images: Images, answers: Logits, *, seed: int
) -> tuple[Classifier, Cost]:
    lower, upper = classifier.bounds
    config = ConvNetConfig(
        image_side=images.shape[2], channels=images.shape[1], num_classes=answers.shape[1]
    )
    network = ConvNet(config, seed=seed)
    updates = -(-len(images) // _BATCH)
    schedule = Schedule(
        epochs=max(_FEWEST_EPOCHS, -(-_FEWEST_UPDATES // updates)), batch_size=_BATCH
    )
    unit = ((images - lower) / (upper - lower)).float().clamp(0.0, 1.0)
    samples = Samples(images=unit, labels=answers.argmax(dim=1))
    device = classifier.device
    report = train(network, samples, StandardRecipe(schedule=schedule), seed=seed, device=device)
    surrogate = Classifier(
        network,
        bounds=classifier.bounds,
        normalize={"mean": lower, "std": upper - lower},
        device=str(device),
        batch_size=classifier.batch_size,
    )
    return surrogate, report.cost


def _moved(surrogate: Classifier, images: Images, answers: Logits, *, sign: int) -> Images:
    """Move images along (+1) or against (-1) the gradient of the logit of their class."""
    classes, parts = answers.argmax(dim=1), []
    lower, upper = surrogate.bounds
    with surrogate.guard():
        for rows in torch.arange(len(images)).split(_BATCH):
            inputs = images[rows].clone().requires_grad_()
            logits = surrogate.logits(inputs)
            own = logits.gather(1, classes[rows, None].to(logits.device)).sum()
            (gradient,) = torch.autograd.grad(own, inputs)
            step = sign * _STEP * (upper - lower)
            parts.append((images[rows] + step * gradient.sign()).clamp(lower, upper))
    return torch.cat(parts)
