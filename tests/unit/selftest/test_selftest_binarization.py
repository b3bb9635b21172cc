"""The binarization self-test: working attacks find what exists, broken ones are found out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_models import ConvModel, classify, keys_of, make_images
from torch import nn

from fgmf.attacks.foolbox_bridge import FoolboxAttack
from fgmf.attacks.interface import AttackResult
from fgmf.attacks.plans import plan_attacks
from fgmf.errors import InvalidInput
from fgmf.robustness import RobustnessPlan
from fgmf.selftest import BinarizationMeasurement, BinarizationQuestion, measure_binarization
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from fgmf.attacks.interface import AttackBatch
    from fgmf.types import Norm

IMAGES = make_images(6, margin=0.05)
EPSILONS: dict[str, float] = {"linf": 0.1, "l2": 0.8, "l1": 10.0}


def _test(
    model: Any = None,
    *attacks: Any,
    norm: Norm = "linf",
    epsilon: float | None = None,
    classifier: dict[str, Any] | None = None,
    deadline: float | None = None,
    images: torch.Tensor = IMAGES,
    **question: Any,
) -> BinarizationMeasurement:
    subject = classify(ConvModel() if model is None else model, **(classifier or {}))
    named = [(a, {}, None) if isinstance(a, str) else (*a, None) for a in attacks or ("pgd",)]
    radius = EPSILONS[norm] if epsilon is None else epsilon
    plan = RobustnessPlan(
        threat=ThreatModel(norm=norm, epsilon=radius, bounds=subject.bounds),
        attacks=plan_attacks(named, restarts=1),
        seed=0,
        deadline=deadline,
    )
    asked = BinarizationQuestion(**{"plan": plan, "inner_count": 150, **question})
    return measure_binarization(subject, images, asked, keys=keys_of(images))


@pytest.mark.parametrize(("norm", "attack"), [("linf", "pgd"), ("linf", "deepfool"), ("l2", "pgd")])
def test_a_working_attack_finds_what_exists(norm: Norm, attack: str) -> None:
    result = _test(None, attack, norm=norm)
    assert bool(result.valid.all())
    assert bool(result.found.all())
    assert int(result.found_by_random.sum()) <= 1
    assert min(result.passes) > 0


def test_a_weak_l1_attack_is_found_out() -> None:
    """Steepest descent in L1 moves one value at a time, and runs out of steps."""
    result = _test(norm="l1")
    assert bool(result.valid.all())
    assert int(result.found.sum()) < 6


def test_an_attack_that_returns_the_clean_image_finds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def idle(_self: FoolboxAttack, batch: AttackBatch, *, restart: int) -> AttackResult:
        return AttackResult(adversarial=batch.images.cpu())

    monkeypatch.setattr(FoolboxAttack, "run", idle)
    result = _test()
    assert bool(result.valid.all())
    assert not bool(result.found.any())
    assert not bool(result.failed.any())


def test_an_attack_that_cannot_be_carried_out_is_no_finding_and_no_success() -> None:
    class Cut(ConvModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images.detach())

    result = _test(Cut())
    assert bool(result.valid.all())
    assert not bool(result.found.any())
    assert bool(result.failed.all())
    assert sum(result.reasons.values()) == 6


def test_images_that_cannot_be_separated_count_as_invalid() -> None:
    """Two features cannot tell one point from a cloud around it, but by luck."""

    class Narrow(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            flat = images.flatten(1)
            return torch.stack([flat[:, ::2].sum(dim=1), flat[:, 1::2].sum(dim=1)], dim=1)

    result = _test(Narrow())
    assert int(result.valid.sum()) < 6
    assert not bool((result.found | result.failed | result.undecided)[~result.valid].any())
    assert all(result.passes[at] == 0 for at in (~result.valid).nonzero().flatten().tolist())


def test_a_readout_that_does_not_hold_in_fresh_passes_says_nothing() -> None:
    class Paired(ConvModel):
        """Answers two images at once as if there were none."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images if len(images) != 2 else images * 0)

    assert bool(_test().valid.all())
    assert not bool(_test(Paired()).valid.any())


def test_features_that_stay_the_same_in_the_whole_ball_say_nothing() -> None:

    class Coarse(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            steps = (images.flatten(1)[:, 0] * 64).round() / 64
            return torch.stack([steps, -steps], dim=1)

    result = _test(Coarse(), epsilon=1e-3)
    assert not bool(result.valid.any())
    assert result.passes == [0] * 6


def test_rounding_the_input_defeats_gradients_and_not_the_construction() -> None:
    class Rounded(ConvModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward((images * 16).round() / 16)

    result = _test(Rounded())
    assert int(result.valid.sum()) >= 5
    assert not bool(result.found.any())


def test_large_logits_defeat_cross_entropy_and_not_the_margin() -> None:
    class Loud(ConvModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images) * 1e5

    assert not bool(_test(Loud()).found.any())
    assert bool(_test(Loud(), "deepfool").found.all())


def test_random_search_gets_as_many_passes_as_the_attacks() -> None:
    """Where the threshold lies in the middle, chance finds it too: the report must say so."""
    result = _test(closeness=0.0, epsilon=0.1)
    assert bool(result.found.all())
    assert int(result.found_by_random.sum()) >= 1
    one = _test(None, ("pgd", {"steps": 1}))
    assert sum(one.passes) < sum(result.passes)


def test_what_the_batch_size_is_does_not_matter() -> None:
    small, large = (_test(classifier={"batch_size": size}) for size in (7, 128))
    assert torch.equal(small.found, large.found)
    assert torch.equal(small.found_by_random, large.found_by_random)
    assert small.passes == large.passes


def test_other_images_do_not_matter() -> None:
    whole, part = _test(), _test(images=IMAGES[3:])
    assert torch.equal(whole.found_by_random[3:], part.found_by_random)
    assert whole.passes[3:] == part.passes


def test_attacks_that_need_a_start_get_other_images() -> None:
    attack = ("hop-skip-jump", {"steps": 2, "initial_gradient_eval_steps": 20})
    result = _test(None, attack, norm="l2", images=make_images(12, margin=0.05))
    assert not bool(result.failed.all())
    assert result.attacked["hop-skip-jump"] == int(result.valid.sum())


def test_targeted_attacks_aim_at_the_class_that_exists() -> None:
    assert bool(_test(targeted=True).found.all())


def test_normalisation_and_other_bounds_are_the_classifiers() -> None:
    images = make_images(3, bounds=(-1.0, 1.0), margin=0.05)
    options = {"bounds": (-1.0, 1.0), "normalize": {"mean": 0.1, "std": 0.5}}
    result = _test(classifier=options, images=images, epsilon=0.2)
    assert bool((result.valid & result.found).all())


def test_passes_are_booked_on_the_classifier() -> None:
    subject = classify(ConvModel())
    plan = RobustnessPlan(
        threat=ThreatModel(norm="linf", epsilon=0.1),
        attacks=plan_attacks([("pgd", {"steps": 5}, None)], restarts=1),
        seed=0,
    )
    question = BinarizationQuestion(plan=plan, inner_count=64)
    measure_binarization(subject, IMAGES, question, keys=keys_of(IMAGES))
    reading = subject.cost_meter
    assert reading.backward_passes == 5 * 6
    assert reading.forward_passes > 64 * 6


def test_time_that_ran_out_decides_nothing() -> None:
    result = _test(deadline=time.monotonic() - 1)
    assert bool((result.valid & result.undecided).all())
    assert not bool(result.found.any())


def test_without_epsilon_images_or_keys_there_is_no_test() -> None:
    with pytest.raises(InvalidInput, match="expected an epsilon > 0"):
        _test(epsilon=0.0)
    with pytest.raises(InvalidInput, match="one key per image, got 0 for 0"):
        _test(images=IMAGES[:0])
