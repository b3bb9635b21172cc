"""Features: the input of the last linear layer with one output per class, or what is named."""

from __future__ import annotations

import pytest
import torch
from tiny_models import ConvModel, LinearModel, classify, make_images
from torch import nn

from fgmf.errors import InvalidInput
from fgmf.selftest.features import read_features

IMAGES = make_images(3)


def _source(model: object, layer: str = "auto") -> str:
    classifier = classify(model)
    with classifier.guard(), read_features(classifier, IMAGES, layer=layer) as reader:
        assert len(reader.features(IMAGES)) == 3
        return reader.source


def test_the_last_linear_layer_is_found_and_its_input_read() -> None:
    model = ConvModel()
    classifier = classify(model)
    with classifier.guard(), read_features(classifier, IMAGES) as reader:
        features = reader.features(IMAGES)
        assert reader.source == "5"
        assert torch.equal(features, nn.Sequential(*list(model)[:5])(IMAGES))
    assert not model[5]._forward_pre_hooks


def test_the_layer_that_runs_last_counts_not_the_one_that_stands_last() -> None:
    class Crossed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.body = nn.Linear(6, 3), nn.Linear(64, 6)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(images.flatten(1)).relu())

    assert _source(Crossed()) == "head"


def test_without_a_layer_for_the_classes_the_logits_are_read() -> None:
    gated = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Unflatten(1, (3, 4)), nn.AvgPool1d(4))
    assert _source(nn.Sequential(gated, nn.Flatten())) == "logits"
    assert _source(LinearModel()) == "logits"
    assert _source(lambda images: images.flatten(1)[:, :4]) == "logits"


def test_a_layer_can_be_named() -> None:
    assert _source(ConvModel(), "2") == "2"
    assert _source(ConvModel(), "logits") == "logits"
    with pytest.raises(InvalidInput, match=r"such as 5, logits; got 'head'"):
        _source(ConvModel(), "head")


def test_a_layer_that_does_not_run_is_refused() -> None:
    class Idle(ConvModel):
        def __init__(self) -> None:
            super().__init__()
            self.spare = nn.Linear(2, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            for layer in list(self)[:6]:
                images = layer(images)
            return images

    with pytest.raises(InvalidInput, match="one row for each of 3 images in 'spare', got nothing"):
        _source(Idle(), "spare")


def test_gradients_flow_from_features_to_images() -> None:
    classifier = classify(ConvModel())
    with classifier.guard(), read_features(classifier, IMAGES) as reader:
        images = IMAGES.clone().requires_grad_()
        reader.features(images).sum().backward()
    assert images.grad is not None
    assert bool(images.grad.any())
