"""The gradient-masking gate on models of other forms: channels, sizes, classes, outputs, files."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_onnx import export
from torch import nn

from fgmf.classifier import Classifier
from fgmf.gates import GradientMaskingGate
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from fgmf.verdict import Verdict


class Tiny(nn.Module):
    """Patches of a quarter of the side, a hidden layer, and what is done to the images first."""

    def __init__(self, channels: int, side: int, classes: int, *, cut: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.patches = nn.Conv2d(channels, 4, side // 4, stride=side // 4)
            self.last = nn.Linear(64, classes)
            nn.init.normal_(self.last.weight)
        self.cut = cut

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        inside = images.detach() if self.cut else images
        logits: torch.Tensor = self.last((4 * self.patches(inside - 0.5)).tanh().flatten(1))
        return logits


class Formed(nn.Module):
    """A network whose logits come in another form."""

    def __init__(self, network: nn.Module, form: str) -> None:
        super().__init__()
        self.network, self.form = network, form

    def forward(self, images: torch.Tensor) -> Any:
        logits = self.network(images)
        forms = {
            "tensor": logits,
            "tuple": (logits,),
            "dict": {"logits": logits},
            "attribute": SimpleNamespace(logits=logits),
        }
        return forms[self.form]


def images_for(
    network: nn.Module, channels: int, side: int, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth images, with the classes that the network gives them."""
    draws = torch.Generator().manual_seed(1)
    coarse = torch.rand((count, channels, 7, 7), generator=draws)
    images = nn.functional.interpolate(coarse, size=(side, side), mode="nearest")
    with torch.no_grad():
        return images, network(images).argmax(dim=1)


def check(classifier: Classifier, images: torch.Tensor, labels: torch.Tensor) -> Verdict:
    gate = GradientMaskingGate(norm="linf", epsilon=0.08, images="all", suite="quick")
    return gate.check(classifier, images, labels)


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(
    ("channels", "side", "classes"), [(1, 28, 10), (3, 28, 2), (3, 32, 1000), (3, 224, 10)]
)
def test_sizes_channels_and_classes(channels: int, side: int, classes: int, *, cut: bool) -> None:
    """The same network is clean with its gradient, and masked with a graph that is cut."""
    network = Tiny(channels, side, classes, cut=cut)
    images, labels = images_for(network, channels, side, 48 if side < 224 else 32)
    classifier = Classifier(network, bounds=(0, 1), device="cpu")
    before = classifier.state_digest()
    verdict = check(classifier, images, labels)
    assert verdict.outcome is not Outcome.ERROR, verdict.reason
    assert verdict.evidence["masking"] == ("masked" if cut else "clean")
    assert classifier.state_digest() == before
    assert not any(module._forward_hooks for module in network.modules())
    assert not any(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("form", ["tensor", "tuple", "dict", "attribute"])
def test_forms_of_output(form: str) -> None:
    verdicts = []
    for cut in (False, True):
        network = Tiny(1, 28, 4, cut=cut)
        images, labels = images_for(network, 1, 28, 40)
        formed = Classifier(Formed(network, form), bounds=(0, 1), device="cpu")
        verdicts.append(check(formed, images, labels).evidence["masking"])
    assert verdicts == ["clean", "masked"]


def test_a_file_without_gradients_gets_a_clear_answer(tmp_path: Path) -> None:
    """No naive attack has a gradient to trust: what scores alone find is compared with itself."""
    network = Tiny(1, 28, 3)
    images, labels = images_for(network, 1, 28, 40)
    path = export(network, tmp_path / "m.onnx", images[:2], names=["logits"], fixed=False)
    classifier = Classifier(path, bounds=(0, 1))
    verdict = check(classifier, images, labels)
    assert verdict.outcome in {Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE}, verdict.reason
    names = {row["name"] for row in verdict.evidence["counterattacks"]}  # type: ignore[index, union-attr] # rows
    assert "Square" in names
    assert {row["naive"] for row in verdict.evidence["gaps"]} == {"suite quick"}  # type: ignore[index, union-attr] # rows
