"""The worst case per image: what is attacked, what counts, what does not depend on batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_models import (
    CurvedModel,
    LinearModel,
    classify,
    keys_of,
    make_images,
    measure,
    rule,
)

from fgmf.attacks.foolbox_bridge import FoolboxAttack
from fgmf.attacks.interface import AttackBatch
from fgmf.attacks.plans import plan_attacks
from fgmf.attacks.projection import inside
from fgmf.errors import InvalidInput
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from fgmf.robustness import RobustnessMeasurement

IMAGES = make_images(20, margin=0.05)
LABELS = CurvedModel()(IMAGES).argmax(dim=1)
EPSILON = 0.025
ATTACKS = ("fgsm", ("pgd", {"steps": 8}), ("additive-noise", {"repeats": 5}))


def facts(result: RobustnessMeasurement) -> dict[str, Any]:
    """Everything but the cost."""
    return {
        "flags": [
            getattr(result, name).tolist()
            for name in ("labels", "predicted", "clean_correct", "broken", "undecided", "failed")
        ],
        "records": [
            (r.plan.label, r.attacked, r.broken, sorted(r.unverified), sorted(r.failures))
            for r in result.records
        ],
        "examples": [
            (e.position, e.predicted, e.attack, e.image.tolist()) for e in result.examples
        ],
        "verified": result.verified,
    }


def test_an_image_is_broken_if_any_attack_at_any_restart_breaks_it_alone() -> None:
    """Slowly: every image for itself, every attack and restart, no matter what came before."""
    classifier = classify(CurvedModel())
    labels = LABELS.clone()
    labels[4] = (labels[4] + 1) % 4
    result = measure(
        classifier, IMAGES, labels, attacks=ATTACKS, epsilon=EPSILON, restarts=2, seed=5
    )
    threat = ThreatModel(norm="linf", epsilon=EPSILON)
    named = [(a, {}, None) if isinstance(a, str) else (*a, None) for a in ATTACKS]
    expected = []
    for at in range(len(IMAGES)):
        one = rule(labels[at : at + 1])
        batch = AttackBatch(
            images=IMAGES[at : at + 1], criterion=one, keys=keys_of(IMAGES[at : at + 1])
        )
        broken = bool(one.broken(classifier.logits(batch.images)))
        for plan in plan_attacks(named, restarts=2):  # type: ignore[arg-type]
            attack = FoolboxAttack(plan, classifier, threat, seed=5)
            for restart in range(plan.restarts):
                found = attack.run(batch, restart=restart).adversarial
                broken |= bool(one.broken(classifier.logits(found)))
        expected.append(broken)
    assert result.broken.tolist() == expected
    assert 3 < sum(expected) < 17
    assert result.certain


@pytest.mark.parametrize("batch_size", [1, 3, 7, 20, 500])
def test_the_batch_size_changes_nothing(batch_size: int) -> None:
    options: dict[str, Any] = {"attacks": ATTACKS, "epsilon": EPSILON, "restarts": 2}
    reference = measure(classify(CurvedModel()), IMAGES, LABELS, **options)
    classifier = classify(CurvedModel(), batch_size=batch_size)
    assert facts(measure(classifier, IMAGES, LABELS, **options)) == facts(reference)


def test_order_and_company_change_nothing() -> None:
    options: dict[str, Any] = {"attacks": ATTACKS, "epsilon": EPSILON}
    whole = measure(classify(CurvedModel()), IMAGES, LABELS, **options)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))[:13]
    part = measure(classify(CurvedModel()), IMAGES[order], LABELS[order], **options)
    assert torch.equal(part.broken, whole.broken[order])


def test_the_seed_decides_and_nothing_else() -> None:
    options: dict[str, Any] = {"attacks": [("additive-noise", {"repeats": 3})], "epsilon": EPSILON}
    classifier = classify(CurvedModel())
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(results))
        results.append(measure(classifier, IMAGES, LABELS, seed=seed, **options))
    first, again, other = map(facts, results)
    assert first == again
    assert first["examples"] != other["examples"]


def test_what_is_broken_is_not_attacked_again() -> None:
    classifier = classify(CurvedModel())
    labels = LABELS.clone()
    labels[:3] = (labels[:3] + 1) % 4
    result = measure(
        classifier, IMAGES, labels, attacks=("fgsm", "pgd", "pgd", "bim"), epsilon=EPSILON
    )
    assert result.records[0].attacked == 17
    assert result.records[0].broken > 0
    left = 17
    for record in result.records:
        assert record.attacked == left
        left -= record.broken
    assert left == int((~result.broken).sum())
    assert result.verified == 17 - left == len(result.examples)


def test_restarts_see_only_what_is_left() -> None:
    """Two clean passes; for FGSM one forward and one backward, one to judge, one to re-verify."""
    seen: list[int] = []

    class Counting(CurvedModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if images.requires_grad:
                seen.append(len(images))
            return super().forward(images)

    classifier = classify(Counting())
    result = measure(classifier, IMAGES, LABELS, attacks=["fgsm"], epsilon=EPSILON, restarts=6)
    assert len(seen) == 6
    assert seen[0] == 20
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] < 20
    assert result.records[0].attacked == 20
    assert result.cost.backward_passes == sum(seen)
    assert result.cost.forward_passes == 2 * 20 + 2 * sum(seen) + result.records[0].broken
    assert result.cost.seconds > 0


def test_every_example_is_inside_and_still_wrong() -> None:
    for norm, epsilon in (("linf", EPSILON), ("l2", 0.2), ("l1", 1.5)):
        result = measure(
            classify(CurvedModel()),
            IMAGES,
            LABELS,
            attacks=["fgsm", "pgd", "fmn"],
            norm=norm,
            epsilon=epsilon,  # type: ignore[arg-type]
        )
        assert result.examples
        at = [example.position for example in result.examples]
        assert len(set(at)) == len(at)
        found = torch.stack([example.image for example in result.examples])
        predicted = CurvedModel()(found).argmax(dim=1)
        assert predicted.tolist() == [example.predicted for example in result.examples]
        assert not bool((predicted == LABELS[at]).any())
        threat = ThreatModel(norm=norm, epsilon=epsilon)  # type: ignore[arg-type]
        assert bool(inside(IMAGES[at], found, threat).all())
        assert bool(result.broken[at].all())


def test_examples_are_kept_up_to_a_limit() -> None:
    options: dict[str, Any] = {"attacks": ["pgd"], "epsilon": 0.1}
    result = measure(classify(CurvedModel()), IMAGES, LABELS, example_limit=3, **options)
    assert len(result.examples) == 3
    assert result.verified == result.records[0].broken == 20


def test_nothing_breaks_in_a_ball_of_radius_zero() -> None:
    labels = LABELS.clone()
    labels[0] = (labels[0] + 1) % 4
    for norm in ("linf", "l2", "l1"):
        result = measure(
            classify(CurvedModel()),
            IMAGES,
            labels,
            attacks=["fgsm", "pgd", "fmn"],
            norm=norm,
            epsilon=0.0,  # type: ignore[arg-type]
        )
        assert result.broken.nonzero().flatten().tolist() == [0]
        assert result.certain


def test_robustness_does_not_rise_with_epsilon() -> None:
    counts = [
        int(measure(classify(LinearModel()), IMAGES, LABELS, epsilon=epsilon).robust.sum())
        for epsilon in (0.0, 0.005, 0.01, 0.02, 0.04, 0.08, 0.2)
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[3] > counts[-1] == 0


@pytest.mark.parametrize("count", [1, 2])
def test_one_image_will_do(count: int) -> None:
    classifier = classify(CurvedModel(), batch_size=1)
    result = measure(classifier, IMAGES[:count], LABELS[:count], epsilon=0.2)
    assert result.broken.tolist() == [True] * count
    assert result.verified == count


def test_images_of_one_class_will_do() -> None:
    rows = LABELS[0] == LABELS
    result = measure(classify(CurvedModel()), IMAGES[rows], LABELS[rows], epsilon=EPSILON)
    assert result.certain
    assert len(result.broken) == int(rows.sum()) > 1


@pytest.mark.parametrize("attack", ["pgd", "deepfool", "hop-skip-jump"])
def test_one_logit_is_two_classes(attack: str) -> None:
    class Binary(LinearModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = super().forward(images)
            return logits[:, 1] - logits[:, 0]

    two, one = classify(LinearModel(2)), classify(Binary(2))
    labels = two.predict(IMAGES)
    assert torch.equal(one.predict(IMAGES), labels)
    options: dict[str, Any] = {"attacks": [attack], "epsilon": EPSILON}
    result = measure(one, IMAGES, labels, **options)
    assert torch.equal(result.broken, measure(two, IMAGES, labels, **options).broken)
    assert 0 < int(result.broken.sum()) < 20


def test_a_targeted_rule_breaks_by_the_target_alone() -> None:
    classifier = classify(CurvedModel())
    targets = (LABELS + 1) % 4
    result = measure(
        classifier, IMAGES, rule(LABELS, kind="targeted", targets=targets), epsilon=0.05
    )
    assert {e.predicted for e in result.examples} <= {0, 1, 2, 3}
    assert all(e.predicted == int(targets[e.position]) for e in result.examples)
    other = measure(classifier, IMAGES, LABELS, epsilon=0.05)
    assert 0 < int(result.broken.sum()) < int(other.broken.sum())


def test_a_top_k_rule_needs_more_than_misclassification() -> None:
    classifier = classify(CurvedModel())
    result = measure(classifier, IMAGES, rule(LABELS, kind="top-k", top_k=2), epsilon=0.05)
    plain = measure(classifier, IMAGES, LABELS, epsilon=0.05)
    assert 0 < int(result.broken.sum()) < int(plain.broken.sum())
    found = torch.stack([e.image for e in result.examples])
    at = [e.position for e in result.examples]
    top = CurvedModel()(found).topk(2, dim=1).indices
    assert not bool((top == LABELS[at].unsqueeze(1)).any())


def test_a_target_that_is_no_class_is_refused() -> None:
    criterion = rule(LABELS, kind="targeted", targets=torch.full_like(LABELS, 4))
    with pytest.raises(InvalidInput, match="got 4 of 4"):
        measure(classify(CurvedModel()), IMAGES, criterion, attacks=["additive-noise"])


def test_progress_goes_up_to_the_end() -> None:
    seen: list[tuple[int, int, str]] = []
    classifier = classify(CurvedModel(), batch_size=6)
    measure(
        classifier,
        IMAGES,
        LABELS,
        attacks=["fgsm", "bim"],
        restarts=2,
        epsilon=EPSILON,
        on_progress=lambda *facts: seen.append(facts),
    )
    done = [share for share, _, _ in seen]
    assert done == sorted(done)
    assert done[-1] == seen[-1][1] == 3 * 20  # BIM draws nothing and runs once
    assert [stage for _, _, stage in seen][:: len(seen) - 1] == ["FGSM", "BIM"]


def test_a_find_on_the_boundary_is_pushed_past_it() -> None:
    """Rounding in another batch would carry it back: here by 0.005, in smaller batches."""

    class Rounding(LinearModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = super().forward(images)
            if len(images) == len(clear):
                return logits
            own = labels[torch.cdist(images.flatten(1), clear.flatten(1)).argmin(dim=1)]
            return logits + 0.005 * torch.nn.functional.one_hot(own, 4)

    top = LinearModel()(IMAGES).topk(2, dim=1).values
    clear = IMAGES[(top[:, 0] - top[:, 1]) > 0.5]
    labels = LinearModel()(clear).argmax(dim=1)
    attack = ("deepfool", {"overshoot": 0.0})
    result = measure(classify(Rounding()), clear, labels, attacks=[attack], norm="l2", epsilon=5.0)
    assert len(clear) > 5
    assert result.records[0].unverified == set()
    assert bool(result.broken.all())
