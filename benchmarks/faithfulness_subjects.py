"""The models whose explanations are compared, and the images that they are explained on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import interpolate

from benchmarks.faithfulness_metrics import Jury
from benchmarks.fashion_models import Shelf
from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.classifier import Classifier
from fgmf.datasets import Samples, digits, fashion_mnist
from fgmf.training import Schedule, StandardRecipe, train

FASHION = {
    "cnn": "undefended",
    "cnn robust": "n-fgsm",
    "vit": "vit-undefended",
    "vit robust": "vit-brief",
    "hybrid": "hybrid-undefended",
    "hybrid robust": "hybrid-brief",
}
DIGITS = "digits"
SUBJECTS = (*FASHION, DIGITS)
VALIDATION_FROM = 50_000
"""Of the training images; the networks are trained on the first 15 000."""
_DIGITS_SIDE = 32
_DIGITS_TRAINED = 1200


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model and its images.

    Attributes:
        name: One of `SUBJECTS`.
        classifier: Around the network.
        jury: The images, with the classes that the network predicts.
    """

    name: str
    classifier: Classifier
    jury: Jury


def subject(name: str, *, images: int, validation: bool) -> Subject:
    """Return a model with test images, or with others on which constants may be chosen."""
    network = _digits_network() if name == DIGITS else Shelf.usual().load(FASHION[name])
    pictures = _digits(validation) if name == DIGITS else _fashion(validation)
    used = pictures[:images]
    with torch.no_grad():
        predicted = network(used).argmax(dim=1)
    jury = Jury(model=network, images=used, targets=predicted, others=_others(used, predicted))
    return Subject(
        name=name,
        classifier=Classifier(network, bounds=(0.0, 1.0), device="cpu", batch_size=256),
        jury=jury,
    )


def _others(images: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
    """For each image the next one, in a circle, that is taken for another class."""
    count = len(images)
    chosen = []
    for i in range(count):
        after = [(i + k) % count for k in range(1, count)]
        chosen.append(next(j for j in after if predicted[j] != predicted[i]))
    return images[chosen]


def _fashion(validation: bool) -> torch.Tensor:
    if validation:
        return fashion_mnist(split="train").images[VALIDATION_FROM:]
    return fashion_mnist(split="test").images


def _digits_samples(split: Literal["train", "test"]) -> Samples:
    small = digits(split)
    size = (_DIGITS_SIDE, _DIGITS_SIDE)
    large = interpolate(small.images, size=size, mode="bilinear", align_corners=False)
    return Samples(images=large, labels=small.labels)


def _digits(validation: bool) -> torch.Tensor:
    if validation:
        return _digits_samples("train").images[_DIGITS_TRAINED:]
    return _digits_samples("test").images


def _digits_network() -> nn.Module:
    config = ConvNetConfig(image_side=_DIGITS_SIDE, widths=(8, 16), hidden=64)
    network = ConvNet(config, seed=4)
    path = Shelf.usual().folder / "digits-32-conv-8-16-64.safetensors"
    if path.is_file():
        network.load_state_dict(load_file(path))
    else:
        samples = _digits_samples("train")
        used = Samples(
            images=samples.images[:_DIGITS_TRAINED], labels=samples.labels[:_DIGITS_TRAINED]
        )
        recipe = StandardRecipe(schedule=Schedule(epochs=12, peak_learning_rate=6e-3))
        train(network, used, recipe, seed=11)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        save_file(network.state_dict(), partial)
        partial.replace(path)
    return network.eval().requires_grad_(requires_grad=False)
