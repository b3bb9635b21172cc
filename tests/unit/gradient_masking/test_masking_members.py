"""Members that answer beside each other, and what lets no gradient through to them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import LinearModel, classify, make_images
from torch import nn

from fgmf.gradient_masking.members import probe_members
from fgmf.gradient_masking.repairing import repaired_sources
from fgmf.gradient_masking.walking import walk

IMAGES = make_images(8, margin=0.1)


class Council(nn.Module):
    """Three linear models, and a rule."""

    def __init__(self, rule: Any) -> None:
        super().__init__()
        self.members = nn.ModuleList(LinearModel(4, seed=seed) for seed in range(3))
        self.rule = rule

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.rule([member(images) for member in self.members])
        return logits


class Silent(Council):
    """The third is asked without a graph."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        first, second = (member(images) for member in list(self.members)[:2])
        with torch.no_grad():
            third = self.members[2](images)
        logits: torch.Tensor = self.rule([first, second, third])
        return logits


def mean(answers: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(answers).mean(dim=0)


def vote(answers: list[torch.Tensor]) -> torch.Tensor:
    each = torch.stack(answers)
    votes = nn.functional.one_hot(each.argmax(dim=2), each.shape[2]).sum(dim=0)
    return votes + 0.0 * each.sum(dim=0)


def reject(answers: list[torch.Tensor]) -> torch.Tensor:
    """Where two agree the first answers, else the third."""
    one, two, three = answers
    agree = (one.argmax(dim=1) == two.argmax(dim=1))[:, None]
    return torch.where(agree, 10 * one, three)


def walked(model: nn.Module) -> tuple[Any, Any]:
    classifier = classify(model, dtype="float64")
    with classifier.guard():
        return walk(classifier, IMAGES, seed=0), classifier


@pytest.mark.parametrize(
    ("model", "stands"),
    [(Council(mean), False), (Council(vote), True), (Council(reject), True), (Silent(mean), True)],
    ids=["mean", "vote", "reject", "silent"],
)
def test_members_that_no_gradient_reaches_are_seen(model: nn.Module, *, stands: bool) -> None:
    found, _ = walked(model)
    assert found.members == ("members.0", "members.1", "members.2")
    symptom = probe_members(found.members, found.unheard, found.image_count)
    assert symptom.stands is stands
    assert symptom.interval is not None
    assert symptom.mechanisms == ("rejection",)


def test_one_network_in_another_is_no_council() -> None:
    found, _ = walked(nn.Sequential(LinearModel(4)))
    assert found.members == ()
    assert not probe_members(found.members, found.unheard, found.image_count).stands


@pytest.mark.parametrize("model", [Council(vote), Silent(vote)], ids=["vote", "silent"])
def test_the_members_are_attacked_together(model: Council) -> None:
    found, classifier = walked(model)
    sources = {s.name: s for s in repaired_sources(classifier, found, lambda logits: logits)}
    together = sources["members' logits together"]
    assert "rejection" in together.mechanisms
    leaf = IMAGES.clone().requires_grad_()
    with classifier.guard(), torch.enable_grad():
        logits = together.logits(leaf)
        (slope,) = torch.autograd.grad(logits[:, 0].sum(), leaf)
    expected = mean([m(IMAGES.double()).log_softmax(dim=1) for m in model.members])
    torch.testing.assert_close(logits.detach(), expected.detach())
    assert float(slope.abs().amin(dim=(1, 2, 3)).amax()) > 0
    assert "members' logits together" not in {
        s.name
        for s in repaired_sources(classifier, walked(Council(mean))[0], lambda logits: logits)
    }
