"""Gates with suites: on trained models, on random ones, and with attacks of other packages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_models import CurvedModel, classify, convolved, make_images

from fgmf.attacks import extensions
from fgmf.attacks.entries import CatalogueEntry, Parameter
from fgmf.attacks.extensions import AttackExtension
from fgmf.attacks.interface import AttackBatch, AttackResult
from fgmf.gates import RobustnessGate
from fgmf.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.attacks.plans import AttackPlan
    from fgmf.classifier import Classifier
    from fgmf.datasets import Samples
    from fgmf.threat import ThreatModel
    from fgmf.types import Norm

    Check = Callable[..., Verdict]

FOOLBOX: dict[str, tuple[Any, ...]] = {
    "linf": ("fgsm", "pgd", {"name": "deepfool", "steps": 20, "candidates": 5}),
    "l2": ("fgsm", "pgd", {"name": "deepfool", "steps": 20, "candidates": 5}),
    "l1": ("fgsm", "pgd", {"name": "ead", "steps": 20, "binary_search_steps": 4}),
}
EPSILON: dict[str, float] = {"linf": 0.15, "l2": 0.6, "l1": 3.0}


def gate_on_digits(
    model: torch.nn.Module, samples: Samples, *, batch_size: int = 128, **options: Any
) -> Verdict:
    settings = {"epsilon": 0.15, "norm": "linf", "min_robust_accuracy": 0.5, "images": 60}
    gate = RobustnessGate(**{**settings, **options})
    return gate.check(classify(model, batch_size=batch_size), samples.images, samples.labels)


def measured(verdict: Verdict) -> float:
    assert verdict.measured is not None, verdict.reason
    assert verdict.evidence["unverified_images"] == []
    return verdict.measured


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("kind", ["standard", "robust"])
def test_suites_find_what_foolbox_finds_and_more(
    trained_digits: Callable[[str], torch.nn.Module], digits_test: Samples, norm: Norm, kind: str
) -> None:
    options: dict[str, Any] = {"norm": norm, "epsilon": EPSILON[norm]}
    model = trained_digits(kind)
    foolbox = gate_on_digits(model, digits_test, attacks=FOOLBOX[norm], **options)
    quick = gate_on_digits(model, digits_test, suite="quick", **options)
    standard = gate_on_digits(model, digits_test, suite="standard", **options)
    assert measured(standard) <= measured(quick)
    assert measured(quick) < measured(foolbox) + 2.5 / 60  # two images; none of 449
    assert measured(standard) <= measured(foolbox)
    assert quick.cost.backward_passes < foolbox.cost.backward_passes


@pytest.mark.parametrize("suite", ["quick", "standard", "black-box"])
def test_the_batch_size_changes_no_verdict(
    standard_digits_model: torch.nn.Module, digits_test: Samples, suite: str
) -> None:
    documents = []
    for batch_size in (17, 64, 449):
        verdict = gate_on_digits(
            standard_digits_model,
            digits_test,
            batch_size=batch_size,
            suite=suite,
            images=24 if suite == "black-box" else 60,
        )
        document = verdict.as_document()
        documents.append({key: value for key, value in document.items() if key != "cost"})
    assert documents[0] == documents[1] == documents[2]


def test_targets_are_aimed_at(standard_digits_model: torch.nn.Module, digits_test: Samples) -> None:
    options: dict[str, Any] = {"criterion": "targeted", "target": 3}
    foolbox = gate_on_digits(standard_digits_model, digits_test, attacks=("pgd",), **options)
    default = gate_on_digits(standard_digits_model, digits_test, **options)
    assert measured(default) <= measured(foolbox)


class Shaking(CurvedModel):
    """Adds noise to its logits, from the global generator."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = super().forward(images)
        return logits + 0.02 * torch.randn(logits.shape)


def test_a_random_model_is_attacked_in_expectation(check: Check) -> None:
    images = make_images(60, margin=0.02)
    options: dict[str, Any] = {
        "labels": CurvedModel(3)(images).argmax(dim=1),
        "attacks": (),
        "epsilon": 0.06,
        "waive": ("nondeterministic-output", "batch-dependent-output"),
        "min_robust_accuracy": 0.9,
    }
    verdict = check(Shaking(3), suite="standard", **options)
    rows: Any = verdict.evidence["attacks"]
    assert rows[0]["parameters"]["draws"] == 4
    assert verdict.outcome is Outcome.FAIL, verdict.reason
    assert check(Shaking(3), suite="standard", **options).measured == verdict.measured
    rows = check(CurvedModel(3), suite="standard", **options).evidence["attacks"]
    assert rows[0]["parameters"]["draws"] == 1


def test_radii_are_booked_by_image(check: Check) -> None:
    verdict = check(
        CurvedModel(3),
        labels=CurvedModel(3)(make_images(60, margin=0.02)).argmax(dim=1),
        attacks=("minimum-norm",),
        epsilon=0.02,
        images=30,
        min_robust_accuracy=0.0,
    )
    (row,) = verdict.evidence["attacks"]  # type: ignore[misc,union-attr]
    radii: dict[str, float] = row["radii"]  # type: ignore[call-overload,index,assignment]
    assert len(radii) == 30
    broken: Any = verdict.evidence["broken_images"]
    assert {int(at) for at, radius in radii.items() if radius < 0.02} == set(broken)
    assert 0 < len(broken) < 30


def test_time_that_runs_out_keeps_what_was_found(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fgmf.attacks import own_bridge

    class Clock:
        asked = 0

        @classmethod
        def monotonic(cls) -> float:
            cls.asked += 1
            return 0.0 if cls.asked < 12 else float("inf")

    monkeypatch.setattr(own_bridge, "time", Clock)
    verdict = check(
        attacks=(), epsilon=0.03, classifier={"batch_size": 8}, max_seconds=1e6,
        min_robust_accuracy=0.0,
    )  # fmt: skip
    assert verdict.outcome is Outcome.INCONCLUSIVE
    broken: Any = verdict.evidence["broken_images"]
    undecided: Any = verdict.evidence["undecided_images"]
    assert broken
    assert undecided
    assert len(broken) + len(undecided) == 60


ENTRY = CatalogueEntry(
    name="nudge",
    title="nudge",
    engine="extension",
    made_for=("linf",),
    parameters={"sign": Parameter(default=1)},
)


class Nudge:
    """Moves every pixel by epsilon, or does something stupid."""

    def __init__(self, move: Callable[[torch.Tensor], Any]) -> None:
        self.move = move

    def run(self, batch: AttackBatch, *, restart: int) -> AttackResult:
        moved = self.move(batch.images)
        return AttackResult(adversarial=moved) if isinstance(moved, torch.Tensor) else moved


@pytest.fixture
def nudge(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., torch.Tensor]], None]:
    """Install an attack that makes its candidates with a function."""

    def install(move: Callable[[torch.Tensor, AttackPlan, float], torch.Tensor]) -> None:
        def build(
            plan: AttackPlan,
            classifier: Classifier,
            threat: ThreatModel,
            *,
            seed: int,
            deadline: float | None,
        ) -> Nudge:
            return Nudge(lambda images: move(images, plan, threat.epsilon))

        class Point:
            name, value = "nudge", "shop.attacks:nudge"

            @staticmethod
            def load() -> object:
                return AttackExtension(entry=ENTRY, build=build)

        monkeypatch.setattr(extensions, "entry_points", lambda group: (Point,))

    return install


def test_an_attack_of_another_package_is_judged_like_any_other(check: Check, nudge: Any) -> None:
    nudge(lambda images, plan, epsilon: (images + plan.parameters["sign"] * epsilon).clamp(0, 1))
    shares = []
    for sign in (1, -1):
        verdict = check(
            attacks=({"name": "nudge", "sign": sign},), epsilon=0.45, min_robust_accuracy=0.0
        )
        (row,) = verdict.evidence["attacks"]  # type: ignore[misc,union-attr]
        assert row["parameters"] == {"sign": sign}  # type: ignore[call-overload,index]
        shares.append(verdict.measured)
        assert row["broken"] == len(verdict.evidence["broken_images"]) > 0  # type: ignore[call-overload,index,arg-type]
    assert shares[0] != shares[1]


def test_what_lies_outside_the_ball_is_brought_back_first(check: Check, nudge: Any) -> None:
    verdicts = []
    for factor in (1, 3):
        nudge(lambda images, plan, epsilon, factor=factor: images + factor * epsilon)
        verdicts.append(check(attacks=("nudge",), epsilon=0.3, min_robust_accuracy=0.0))
    assert verdicts[0].evidence["broken_images"]
    assert verdicts[0].evidence["broken_images"] == verdicts[1].evidence["broken_images"]


def test_what_it_does_to_the_images_it_is_given_moves_no_ball(check: Check, nudge: Any) -> None:
    def honest(images: torch.Tensor, plan: AttackPlan, epsilon: float) -> torch.Tensor:
        return images + epsilon

    def in_place(images: torch.Tensor, plan: AttackPlan, epsilon: float) -> torch.Tensor:
        return images.add_(epsilon)

    shares = []
    for move in (honest, in_place):
        nudge(move)
        verdict = check(attacks=("nudge",), epsilon=0.3, min_robust_accuracy=0.0)
        shares.append((verdict.evidence["broken_images"], verdict.evidence["verified"]))
    assert shares[0] == shares[1]
    assert shares[0][0]


def _returned(**parts: Any) -> Callable[..., AttackResult]:
    def move(images: torch.Tensor, plan: AttackPlan, epsilon: float) -> AttackResult:
        return AttackResult(adversarial=images, **parts)

    return move


@pytest.mark.parametrize(
    ("move", "words"),
    [
        (lambda images, plan, epsilon: 1 / 0, "expected nudge to run, got ZeroDivisionError"),
        (lambda images, plan, epsilon: images[:1], "one candidate of nudge for each image"),
        (lambda images, plan, epsilon: [images], "an AttackResult, got list"),
        (_returned(failures=None), "failures as a dictionary from positions below"),
        (_returned(failures={60: "why"}), "failures as a dictionary from positions below 60"),
        (_returned(failures={0: 1}), "failures as a dictionary"),
        (_returned(radii=torch.ones(3)), "radii as a tensor of shape (60,), or None"),
        (_returned(radii=torch.ones(60).bool()), "radii of another type, got torch.bool"),
        (_returned(offered=torch.ones(60)), "offered of another type, got torch.float32"),
        (_returned(offered=[True]), "offered as a tensor of shape (60,), or None"),
        (_returned(complete=None), "complete as True or False, got NoneType"),
    ],
)
def test_an_attack_that_cannot_be_carried_out_is_an_error(
    check: Check, nudge: Any, move: Any, words: str
) -> None:
    nudge(move)
    verdict = check(attacks=("nudge",))
    assert verdict.outcome is Outcome.ERROR
    assert words in verdict.reason


def test_candidates_of_nan_are_failures(check: Check, nudge: Any) -> None:
    nudge(lambda images, plan, epsilon: images * float("nan"))
    assert check(attacks=("nudge",), min_robust_accuracy=0.0).outcome is Outcome.ERROR


def test_candidates_of_nan_are_failures_on_a_model_that_hides_them(
    check: Check, nudge: Any
) -> None:
    class Cleans(CurvedModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images.nan_to_num(0.5))

    nudge(lambda images, plan, epsilon: images * float("nan"))
    verdict = check(Cleans(), attacks=("nudge",), min_robust_accuracy=0.0)
    assert verdict.outcome is Outcome.ERROR
    assert "its candidate is NaN or infinite" in verdict.reason


def test_a_curve_by_radius_counts_what_stands(check: Check) -> None:
    verdict = check(
        CurvedModel(3),
        labels=CurvedModel(3)(make_images(60, margin=0.02)).argmax(dim=1),
        attacks=("minimum-norm",),
        epsilon=0.02,
        images=30,
        min_robust_accuracy=0.0,
    )
    row: Any = verdict.evidence["attacks"][0]
    assert row["curve"][0]["accuracy"] == 1.0
    for point in row["curve"]:
        standing = sum(radius > point["epsilon"] for radius in row["radii"].values())
        assert point["accuracy"] == standing / 30
        assert point["lower"] <= point["accuracy"] <= point["upper"]
    behind = check(attacks=("fgsm", "minimum-norm"), epsilon=0.05, images=30)
    rows: Any = behind.evidence["attacks"]
    assert rows[0]["broken"] > 0
    assert "curve" not in rows[1]


def test_broken_images_are_explained_where_it_is_asked(check: Check) -> None:
    labels = convolved()(make_images(60, margin=0.02)).argmax(dim=1)
    options: dict[str, Any] = {"epsilon": 0.2, "images": 30, "labels": labels}
    plain = check(convolved(), **options)
    assert "pictures" not in plain.evidence
    verdict = check(convolved(), explain_broken={"name": "pgca"}, **options)
    assert verdict.evidence["configuration"] == plain.evidence["configuration"]
    assert verdict.evidence["images"] == plain.evidence["images"]
    change, before, after = verdict.evidence["pictures"]  # type: ignore[misc]
    assert len(change["rows"]) == 4  # type: ignore[arg-type,call-overload,index]
    assert change["columns"][1] == "adversarial"  # type: ignore[call-overload,index]
    titles = [picture["title"] for picture in (before, after)]  # type: ignore[call-overload,index]
    assert [title.rpartition(", ")[2] for title in titles] == [  # type: ignore[union-attr]
        "before the attack",
        "after the attack",
    ]
    assert verdict.cost.forward_passes > plain.cost.forward_passes
    hidden = check(convolved(), explain_broken="gradient", save_failures=False, **options)
    assert "pictures" not in hidden.evidence
    none = check(explain_broken="pgca", epsilon=0.05, images=30)
    assert none.evidence["no_explanations"]
    assert none.outcome is check(epsilon=0.05, images=30).outcome
