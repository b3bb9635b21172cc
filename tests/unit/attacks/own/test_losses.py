from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from fgmf.attacks.criteria import Criterion
from fgmf.attacks.own.losses import (
    NO_TARGET,
    attack_loss,
    breaking_margin,
    logit_direction,
    usable_loss,
)
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.attacks.own.losses import LossName


LABELS = torch.tensor([0, 1, 2])
LOGITS = torch.tensor(
    [[3.0, 1.0, 2.0, -1.0], [0.5, 0.0, 4.0, 1.0], [1.0, 2.0, 2.5, 2.0]], dtype=torch.float64
)
DISTINCT = LOGITS + torch.tensor([0.0, 0.01, 0.02, 0.04], dtype=torch.float64)
NONE = torch.full((3,), NO_TARGET)
UNTARGETED = Criterion(kind="misclassification", labels=LABELS)
TARGETED = Criterion(kind="targeted", labels=LABELS, targets=torch.tensor([2, 0, 0]))


def test_margins_are_positive_exactly_where_the_criterion_holds() -> None:
    top2 = Criterion(kind="top-k", labels=LABELS, top_k=2)
    assert breaking_margin(LOGITS, UNTARGETED).tolist() == [-1.0, 4.0, -0.5]
    assert breaking_margin(LOGITS, TARGETED).tolist() == [-1.0, -3.5, -1.5]
    assert breaking_margin(LOGITS, top2).tolist() == [-2.0, 1.0, -0.5]
    for criterion in (UNTARGETED, TARGETED, top2):
        assert torch.equal(breaking_margin(LOGITS, criterion) > 0, criterion.broken(LOGITS))


def test_dlr_is_the_published_formula() -> None:
    untargeted = attack_loss("dlr", LOGITS, UNTARGETED, NONE)
    assert untargeted.tolist() == pytest.approx([-1 / 2, 4 / 3.5, -0.5 / 0.5])
    aims = torch.tensor([2, 3, 0])
    targeted = attack_loss("dlr", LOGITS, UNTARGETED, aims)
    expected = [-1 / (3 - (1 - 1) / 2), 1 / (4 - (0.5 + 0) / 2), -1.5 / (2.5 - (2 + 1) / 2)]
    assert targeted.tolist() == pytest.approx(expected)


def test_the_ce_direction_is_that_of_cross_entropy() -> None:
    leaf = LOGITS.clone().requires_grad_()
    torch.nn.functional.cross_entropy(leaf, LABELS, reduction="sum").backward()
    assert leaf.grad is not None
    expected = leaf.grad / leaf.grad.abs().amax(dim=1, keepdim=True)
    _, direction = logit_direction("ce", LOGITS, UNTARGETED, NONE)
    assert torch.allclose(direction, expected, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("loss", ["ce", "dlr", "margin"])
def test_directions_never_vanish_and_have_one_scale(loss: LossName, scale: float) -> None:
    logits = (DISTINCT * scale).float()
    values, direction = logit_direction(loss, logits, UNTARGETED, NONE)
    assert bool(values.isfinite().all())
    assert direction.abs().amax(dim=1).tolist() == pytest.approx([1.0, 1.0, 1.0])
    label_part = direction.gather(1, LABELS[:, None])
    assert bool((label_part < 0).all())


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_dlr_does_not_depend_on_the_scale_of_the_logits(scale: float) -> None:
    assert torch.allclose(
        attack_loss("dlr", LOGITS * scale, UNTARGETED, NONE),
        attack_loss("dlr", LOGITS, UNTARGETED, NONE),
    )


def test_cross_entropy_orders_points_that_float32_calls_equal() -> None:
    near = torch.tensor([[200.0, 0.0], [201.0, 0.0]])
    assert (
        torch.nn.functional.cross_entropy(near, torch.tensor([0, 0]), reduction="none").sum() == 0
    )
    criterion = Criterion(kind="misclassification", labels=torch.tensor([0, 0]))
    first, second = attack_loss("ce", near.double(), criterion, torch.tensor([-1, -1])).tolist()
    assert first > second


def test_too_few_classes_fall_back_to_the_margin() -> None:
    assert usable_loss("dlr", classes=2, targeted=False) == "margin"
    assert usable_loss("dlr", classes=3, targeted=False) == "dlr"
    assert usable_loss("dlr", classes=3, targeted=True) == "margin"
    assert usable_loss("dlr", classes=4, targeted=True) == "dlr"
    assert usable_loss("ce", classes=2, targeted=True) == "ce"


def test_one_class_and_unknown_names_are_refused() -> None:
    with pytest.raises(InvalidInput, match="two classes"):
        usable_loss("ce", classes=1, targeted=False)
    with pytest.raises(InvalidInput, match="hinge"):
        usable_loss("hinge", classes=3, targeted=False)  # type: ignore[arg-type]


def test_tied_logits_give_a_finite_dlr() -> None:
    flat = torch.zeros(3, 4, dtype=torch.float64)
    assert attack_loss("dlr", flat, UNTARGETED, NONE).tolist() == [0, 0, 0]
    assert bool(logit_direction("dlr", flat, UNTARGETED, NONE)[1].isfinite().all())


def test_a_target_under_top_k_is_one_of_a_company() -> None:
    """The lowest of the target and the best k - 1 others, against the label."""
    top2 = Criterion(kind="top-k", labels=LABELS, top_k=2)
    aims = torch.tensor([3, 0, 3])
    margins = attack_loss("margin", LOGITS, top2, aims)
    assert margins.tolist() == [-1.0 - 3.0, 0.5 - 0.0, 2.0 - 2.5]
    assert attack_loss("margin", LOGITS, top2, NONE).tolist() == [-2.0, 1.0, -0.5]
    broken = attack_loss("margin", LOGITS, top2, aims) > 0
    assert not bool((broken & ~top2.broken(LOGITS)).any())


def test_the_ce_of_top_k_leaves_the_strongest_rivals_out() -> None:
    top2 = Criterion(kind="top-k", labels=LABELS[:1], top_k=2)
    value = attack_loss("ce", LOGITS[:1], top2, NONE[:1])
    expected = torch.logsumexp(torch.tensor([1.0, -1.0], dtype=torch.float64), dim=0) - 3.0
    assert value.item() == pytest.approx(float(expected))
