"""Our own attacks behind a classifier: what stops them, what fails, and what is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_models import CurvedModel, LinearModel, classify, keys_of, make_images, rule

from fgmf.attacks import own_bridge
from fgmf.attacks.building import build_attack
from fgmf.attacks.catalogue_own import OWN_ENTRIES
from fgmf.attacks.interface import AttackBatch, AttackResult
from fgmf.attacks.own_bridge import OwnAttack
from fgmf.attacks.plans import plan_attacks
from fgmf.attacks.projection import inside
from fgmf.errors import BudgetSpent
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.attacks.criteria import Criterion
    from fgmf.types import Norm

IMAGES = make_images(24, margin=0.05)
LABELS = CurvedModel()(IMAGES).argmax(dim=1)
EPSILON: dict[Norm, float] = {"linf": 0.025, "l2": 0.18, "l1": 1.0}
PAIRS = [(entry.name, norm) for entry in OWN_ENTRIES for norm in entry.norms]
GRADIENT = [entry.name for entry in OWN_ENTRIES if entry.needs_gradient]
FEW: dict[str, dict[str, Any]] = {
    "minimum-margin": {"targets": 2, "steps": 6},
    "focused-margin": {"targets": 2, "steps": 3, "far": 0.8, "long_targets": 3, "long_steps": 4},
    "minimum-norm": {"steps": 15},
    "square": {"queries": 40},
    "random-search": {"queries": 40},
    "apgd-dlr-t": {"targets": 2, "steps": 6},
}
ITERATIVE = ["apgd-ce", "minimum-margin", "focused-margin", "minimum-norm", "square"]
ODD = 7


def run(
    model: Any,
    name: str,
    norm: Norm = "linf",
    *,
    criterion: Criterion | None = None,
    restarts: int = 1,
    options: dict[str, Any] | None = None,
    deadline: float | None = None,
    batch_size: int = 128,
    epsilon: float | None = None,
) -> tuple[AttackResult, Any]:
    """The result, and the classifier that was attacked."""
    classifier = classify(model, batch_size=batch_size)
    parameters = FEW.get(name, {"steps": 8}) | (options or {})
    (plan,) = plan_attacks([(name, parameters, None)], restarts=restarts)
    size = EPSILON[norm] if epsilon is None else epsilon
    threat = ThreatModel(norm=norm, epsilon=size)
    with classifier.guard():
        batch = AttackBatch(
            images=IMAGES,
            criterion=criterion or rule(LABELS),
            keys=keys_of(IMAGES),
            clean_logits=CurvedModel()(IMAGES),
        )
        attack = build_attack(plan, classifier, threat, seed=3, deadline=deadline)
        assert isinstance(attack, OwnAttack)
        return attack.run(batch, restart=0), classifier


def broken(result: AttackResult, criterion: Criterion | None = None) -> list[bool]:
    flags: list[bool] = (
        (criterion or rule(LABELS)).broken(CurvedModel()(result.adversarial)).tolist()
    )
    return flags


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_every_entry_runs_in_its_norms(name: str, norm: Norm) -> None:
    result, classifier = run(CurvedModel(), name, norm)
    assert result.failures == {}
    assert result.complete
    threat = ThreatModel(norm=norm, epsilon=EPSILON[norm])
    assert bool(inside(IMAGES, result.adversarial, threat).all())
    assert (result.radii is not None) is (name == "minimum-norm")
    if name == "random-search":
        return  # noise is not enough here
    assert 3 < sum(broken(result)) < 24
    needs_gradient = name in GRADIENT
    assert (classifier.cost_meter.backward_passes > 0) is needs_gradient


@pytest.mark.parametrize("name", [entry.name for entry in OWN_ENTRIES])
@pytest.mark.parametrize("kind", ["targeted", "top-k"])
def test_every_entry_knows_every_criterion(name: str, kind: str) -> None:
    options = {"targets": (LABELS + 1) % 4} if kind == "targeted" else {"top_k": 2}
    criterion = rule(LABELS, kind=kind, **options)
    result, _ = run(CurvedModel(), name, criterion=criterion, epsilon=0.08)
    assert result.failures == {}
    assert name == "random-search" or 0 < sum(broken(result, criterion)) < 24


@pytest.mark.parametrize("name", [entry.name for entry in OWN_ENTRIES])
def test_one_logit_is_two_classes(name: str) -> None:
    class Binary(LinearModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = super().forward(images)
            return logits[:, 1] - logits[:, 0]

    labels = LinearModel(2)(IMAGES).argmax(dim=1)
    found = []
    for model in (LinearModel(2), Binary(2)):
        classifier = classify(model)
        (plan,) = plan_attacks([(name, FEW.get(name, {"steps": 8}), None)], restarts=1)
        threat = ThreatModel(norm="linf", epsilon=0.03)
        batch = AttackBatch(images=IMAGES, criterion=rule(labels), keys=keys_of(IMAGES))
        with classifier.guard():
            result = OwnAttack(plan, classifier, threat, seed=0).run(batch, restart=0)
        assert result.failures == {}
        found.append(rule(labels).broken(LinearModel(2)(result.adversarial)).tolist())
    assert found[0] == found[1]
    assert name == "random-search" or 0 < sum(found[0]) < 24


@pytest.mark.parametrize("name", ITERATIVE)
def test_the_batch_size_is_the_capacity_and_changes_nothing(name: str) -> None:
    sizes: list[int] = []

    class Recording(CurvedModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            sizes.append(len(images))
            return super().forward(images)

    whole, _ = run(CurvedModel(), name, restarts=2)
    part, _ = run(Recording(), name, restarts=2, batch_size=5)
    assert max(sizes) <= 5
    assert torch.equal(part.adversarial, whole.adversarial)


@pytest.mark.parametrize("name", ITERATIVE)
@pytest.mark.parametrize("backward", [False, True])
def test_memory_that_runs_out_halves_the_batch_and_changes_nothing(
    name: str, backward: bool
) -> None:
    sizes: list[int] = []

    class Narrow(CurvedModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            sizes.append(len(images))
            logits = super().forward(images)
            if len(images) > 6 and not (backward and images.requires_grad):
                raise torch.OutOfMemoryError("CUDA out of memory")
            if len(images) > 6:
                logits.register_hook(_no_memory)
            return logits

    def _no_memory(gradient: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    plain, free = run(CurvedModel(), name)
    result, tight = run(Narrow(), name)
    assert torch.equal(result.adversarial, plain.adversarial)
    assert result.failures == {}
    # 24, 12; then it is remembered. Looks at classes side by side find their own: 15, 7.
    assert sum(size > 6 for size in sizes) <= (4 if name == "focused-margin" else 3)
    if name in GRADIENT and not backward:
        assert tight.cost_meter.backward_passes == free.cost_meter.backward_passes


def special(answer: Callable[[torch.Tensor], torch.Tensor]) -> CurvedModel:
    """A model that answers otherwise near the odd image, once it has been changed."""

    class Special(CurvedModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            gaps = (images.detach() - IMAGES[ODD]).flatten(1).abs().amax(dim=1)
            near = (gaps <= 0.3) & (gaps > 1e-6)
            logits = super().forward(images)
            if not bool(near.any()):
                return logits
            return torch.where(near[:, None], answer(logits), logits)

    return Special()


def raising(logits: torch.Tensor) -> torch.Tensor:
    raise ZeroDivisionError("odd")


@pytest.mark.parametrize("name", [entry.name for entry in OWN_ENTRIES])
@pytest.mark.parametrize("batch_size", [3, 128])
def test_a_model_that_raises_fails_for_one_image_alone(name: str, batch_size: int) -> None:
    plain, _ = run(CurvedModel(), name)
    result, _ = run(special(raising), name, batch_size=batch_size)
    assert result.failures == {ODD: "ZeroDivisionError: odd"}
    others = [at for at in range(24) if at != ODD]
    assert torch.equal(result.adversarial[others], plain.adversarial[others])
    assert torch.equal(result.adversarial[ODD], IMAGES[ODD])


@pytest.mark.parametrize("name", [entry.name for entry in OWN_ENTRIES])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_answer_that_is_not_finite_fails_for_its_image(name: str, value: float) -> None:
    result, _ = run(special(lambda logits: torch.full_like(logits, value)), name)
    assert list(result.failures) == [ODD]
    assert "NaN or infinite" in result.failures[ODD]
    assert bool(result.adversarial.isfinite().all())


def test_a_gradient_that_is_not_finite_fails_too() -> None:
    class Poisoned(CurvedModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            gaps = (images.detach() - IMAGES[ODD]).flatten(1).abs().amax(dim=1)
            factor = torch.where(gaps <= 0.3, torch.inf, 1.0)[:, None, None, None]
            slope = images * factor - (images * factor).detach()
            return super().forward(images) + slope.nan_to_num(0.0).flatten(1).sum(dim=1)[:, None]

    result, _ = run(Poisoned(), "apgd-ce")
    assert list(result.failures) == [ODD]


def test_a_model_without_a_graph_fails_for_every_image() -> None:
    frozen = CurvedModel().requires_grad_(False)
    result, _ = run(lambda images: frozen(images.detach()), "apgd-ce")
    assert sorted(result.failures) == list(range(24))
    assert "cut from the graph" in result.failures[0]
    assert torch.equal(result.adversarial, IMAGES)


class Clock:
    """Time that passes with the questions."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now


@pytest.mark.parametrize("name", ITERATIVE)
def test_what_was_found_before_the_deadline_is_kept(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = run(CurvedModel(), name, batch_size=4)
    monkeypatch.setattr(own_bridge, "time", Clock())
    deadline = 60.0 if name == "minimum-norm" else 12.0
    result, _ = run(CurvedModel(), name, deadline=deadline, batch_size=4)
    assert not result.complete
    assert 0 < sum(broken(result)) < sum(broken(whole))


def test_nothing_is_asked_after_the_deadline() -> None:
    class Untouched(CurvedModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise AssertionError

    result, classifier = run(Untouched(), "minimum-margin", deadline=-1.0)
    assert not result.complete
    assert torch.equal(result.adversarial, IMAGES)
    assert classifier.cost_meter.forward_passes == 0


def test_the_deadline_is_an_end_where_nothing_is_known_yet() -> None:
    classifier = classify(CurvedModel())
    (plan,) = plan_attacks([("apgd-ce", {}, None)], restarts=1)
    threat = ThreatModel(norm="linf", epsilon=0.1)
    batch = AttackBatch(images=IMAGES, criterion=rule(LABELS), keys=keys_of(IMAGES))
    with pytest.raises(BudgetSpent), classifier.guard():
        OwnAttack(plan, classifier, threat, seed=0, deadline=-1.0).run(batch, restart=0)


def test_clean_logits_save_a_pass_per_image() -> None:
    _, with_them = run(CurvedModel(), "square", options={"queries": 1})
    assert with_them.cost_meter.forward_passes == 24


def test_draws_are_averaged_and_paid_for() -> None:
    once, cheap = run(CurvedModel(), "apgd-margin", epsilon=0.001)
    often, dear = run(CurvedModel(), "apgd-margin", options={"draws": 3}, epsilon=0.001)
    assert dear.cost_meter.forward_passes == 3 * cheap.cost_meter.forward_passes
    assert dear.cost_meter.backward_passes == 3 * cheap.cost_meter.backward_passes
    assert torch.allclose(often.adversarial, once.adversarial, atol=1e-3)


def test_what_looks_broken_is_confirmed_by_four_times_as_many_draws() -> None:
    once, cheap = run(CurvedModel(), "apgd-margin", epsilon=0.5)
    often, dear = run(CurvedModel(), "apgd-margin", options={"draws": 3}, epsilon=0.5)
    model = CurvedModel()
    for found in (once, often):
        assert bool((model(found.adversarial).argmax(dim=1) != LABELS).all())
    confirmed = 4 * 3 * len(IMAGES)
    assert dear.cost_meter.forward_passes == 3 * cheap.cost_meter.forward_passes + confirmed


def test_a_label_has_draws_of_its_own() -> None:
    first, second = plan_attacks([("apgd-ce", {"steps": 1}, None)] * 2, restarts=1)
    classifier = classify(CurvedModel())
    threat = ThreatModel(norm="linf", epsilon=0.001)
    batch = AttackBatch(images=IMAGES, criterion=rule(LABELS), keys=keys_of(IMAGES))
    with classifier.guard():
        found = [
            OwnAttack(plan, classifier, threat, seed=0).run(batch, restart=0).adversarial
            for plan in (first, first, second)
        ]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_no_image_and_no_ball_ask_nothing() -> None:
    result, classifier = run(CurvedModel(), "minimum-margin", epsilon=0.0)
    assert torch.equal(result.adversarial, IMAGES)
    assert classifier.cost_meter.forward_passes == 0
