from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_models import CurvedModel, LinearModel, classify, keys_of, make_images, measure, rule
from tiny_onnx import export
from torch import nn

from fgmf.attacks.building import build_attack
from fgmf.attacks.interface import AttackBatch
from fgmf.attacks.plans import plan_attacks
from fgmf.attacks.sources import AttackSources
from fgmf.attacks.surrogates import train_surrogate
from fgmf.errors import InvalidGateFile, InvalidInput
from fgmf.gatefile import load_gate_file
from fgmf.gates import AttackSelftestGate, RobustnessGate
from fgmf.gates.specification import RunContext
from fgmf.robustness import RobustnessPlan
from fgmf.robustness.sharding import _subject
from fgmf.running import GateRun, RunSettings
from fgmf.threat import ThreatModel
from fgmf.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from fgmf.classifier import Classifier
    from fgmf.datasets import Samples

IMAGES = make_images(40, margin=0.2)
LABELS = CurvedModel()(IMAGES).argmax(dim=1)
SELF = {"name": "transfer", "surrogate": "other", "steps": 20}


def _gate(*attacks: Any, **options: Any) -> RobustnessGate:
    values = {"norm": "linf", "epsilon": 0.02, "min_robust_accuracy": 0.5, "images": "all"}
    return RobustnessGate(**{**values, "attacks": attacks, "save_failures": False, **options})


def _context(surrogate: Classifier, **options: Any) -> RunContext:
    def named(name: str) -> Classifier:
        if name != "other":
            raise InvalidInput(f"expected the name of a model, got {name!r}")
        return surrogate

    return RunContext(surrogates=named, **options)


def _check(classifier: Classifier, surrogate: Classifier, *attacks: Any) -> Verdict:
    return _gate(*attacks).check(classifier, IMAGES, LABELS, context=_context(surrogate))


def test_from_a_model_to_itself_it_breaks_what_the_attack_on_the_model_breaks() -> None:
    model = classify(CurvedModel())
    white = _check(model, model, {"name": "apgd-margin", "steps": 20})
    black = _check(model, classify(CurvedModel()), SELF)
    same = _check(model, model, SELF)
    assert white.evidence["broken_images"]
    assert set(white.evidence["broken_images"]) < set(range(40))  # type: ignore[arg-type]
    assert black.evidence["images"] == white.evidence["images"] == same.evidence["images"]


def test_another_model_makes_other_examples() -> None:
    model = classify(CurvedModel())
    white = _check(model, model, SELF)
    other = _check(model, classify(CurvedModel(seed=5)), SELF)
    assert len(other.evidence["broken_images"]) < len(white.evidence["broken_images"])  # type: ignore[arg-type]


def test_an_image_that_the_surrogate_gets_wrong_is_attacked_all_the_same() -> None:
    class Negative(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return -CurvedModel()(images)

    surrogate, plan = classify(Negative()), plan_attacks([("transfer", {}, None)], restarts=1)[0]
    threat = ThreatModel(norm="linf", epsilon=0.02, bounds=(0.0, 1.0))
    attack = build_attack(
        plan,
        classify(CurvedModel()),
        threat,
        seed=0,
        sources=AttackSources(surrogates={"train": surrogate}),
    )
    result = attack.run(
        AttackBatch(images=IMAGES, criterion=rule(LABELS), keys=keys_of(IMAGES)), restart=0
    )
    assert not result.failures
    moved = (result.adversarial - IMAGES).abs().flatten(1).amax(dim=1)
    assert bool((moved > 0.015).all())


def test_the_verdict_depends_on_neither_batch_size_nor_repetition() -> None:
    verdicts = [
        _gate("transfer").check(classify(CurvedModel(), batch_size=size), IMAGES, LABELS)
        for size in (128, 7, 128)
    ]
    first, small, again = (verdict.evidence["images"] for verdict in verdicts)
    assert first == small == again
    digests = {v.evidence["sources"]["transfer"]["train"]["digest"] for v in verdicts}  # type: ignore[index,call-overload]
    assert len(digests) == 1


def test_a_trained_surrogate_is_no_part_of_the_configuration_and_another_model_is() -> None:
    model = classify(CurvedModel())
    trained = _check(model, model, "transfer").evidence["configuration"]
    assert "sources" not in trained  # type: ignore[operator]
    named = [
        _check(model, classify(CurvedModel(seed=s)), SELF).evidence["configuration"] for s in (1, 2)
    ]
    assert named[0] != named[1]


def test_passes_of_the_surrogate_are_in_the_cost() -> None:
    model = classify(CurvedModel())
    alone = _check(model, model, "random-search").cost
    cost = _check(model, classify(CurvedModel()), SELF).cost
    assert cost.backward_passes >= 20 * 30
    assert alone.backward_passes < 20 * 30
    same = _check(model, model, SELF).cost
    # One clean pass of the other model more; a model that is its own surrogate counts once.
    assert abs(same.forward_passes - cost.forward_passes) <= 1
    assert same.backward_passes == cost.backward_passes
    training = _check(model, model, "transfer").cost
    assert training.forward_passes > 300 * 40


def test_a_trained_surrogate_beats_noise_on_digits(
    standard_digits_model: nn.Module, digits_test: Samples
) -> None:
    robust = {}
    for attack in ("random-search", "transfer"):
        verdict = _gate(attack, epsilon=0.15, images=150, min_robust_accuracy=0.2).check(
            classify(standard_digits_model), digits_test.images, digits_test.labels
        )
        robust[attack] = verdict.evidence["robust_accuracy"]
    assert robust["transfer"] < robust["random-search"] - 0.1  # type: ignore[operator]


def test_an_onnx_file_is_gated_with_transfer(
    tmp_path: Path, standard_digits_model: nn.Module, digits_test: Samples
) -> None:
    images, labels = digits_test.images[:60], digits_test.labels[:60]
    path = export(
        standard_digits_model, tmp_path / "m.onnx", images[:2], names=["logits"], fixed=False
    )
    gate = _gate("transfer", epsilon=0.15, min_robust_accuracy=0.0)
    verdict = gate.check(classify(str(path)), images, labels)
    assert verdict.outcome is Outcome.PASS
    assert verdict.evidence["broken_images"]


@pytest.mark.parametrize(
    ("surrogate", "attack", "reason"),
    [
        (classify(CurvedModel()), {"name": "transfer", "surrogate": "nobody"}, "nobody"),
        (classify(LinearModel(7)), SELF, "4 classes, got 7"),
        (classify(CurvedModel(), bounds=(0.0, 2.0)), SELF, "bounds"),
        (classify(nn.Flatten(0)), SELF, "other"),
    ],
)
def test_a_surrogate_that_is_of_no_use_is_an_error(
    surrogate: Classifier, attack: Any, reason: str
) -> None:
    verdict = _check(classify(CurvedModel()), surrogate, attack)
    assert verdict.outcome is Outcome.ERROR
    assert reason in verdict.reason


def test_without_other_models_only_train_is_there() -> None:
    verdict = _gate(SELF).check(classify(CurvedModel()), IMAGES, LABELS)
    assert verdict.outcome is Outcome.ERROR
    assert "RunContext.surrogates" in verdict.reason


@pytest.mark.parametrize("shape", [(64,), (1, 4, 4), (1, 8, 9)])
def test_images_that_no_surrogate_can_be_trained_on_are_refused(shape: tuple[int, ...]) -> None:
    images = make_images(4, shape=shape)
    with pytest.raises(InvalidInput, match="square images"):
        train_surrogate(classify(nn.Flatten()), images, seed=0)


def test_a_measurement_without_its_sources_is_refused() -> None:
    for name in ("transfer", "known-examples"):
        with pytest.raises(InvalidInput, match="prepared"):
            measure(classify(CurvedModel()), IMAGES, LABELS, attacks=[name])


def test_the_selftest_of_a_gate_leaves_transfer_out() -> None:
    test = AttackSelftestGate.of(_gate("transfer", "pgd"))
    assert [attack.name for attack in test.attacks] == ["pgd"]
    with pytest.raises(InvalidGateFile, match="on the model itself"):
        AttackSelftestGate.of(_gate("transfer"))


def test_another_process_with_another_surrogate_is_noticed() -> None:
    model = classify(CurvedModel())
    plan = RobustnessPlan(
        threat=ThreatModel(norm="linf", epsilon=0.02, bounds=(0.0, 1.0)),
        attacks=plan_attacks([("transfer", {}, None)], restarts=1),
        seed=0,
        sources=AttackSources(surrogate_digests={"train": "a"}),
    )
    other = replace(plan, sources=AttackSources(surrogate_digests={"train": "b"}))
    one, two = (_subject(model, rule(LABELS), p, keys_of(IMAGES)) for p in (plan, other))
    assert one != two


GATE_FILE = """
schema = 1
[[model]]
name = "gated"
factory = "fgmf_pair:gated"
bounds = [0, 1]
device = "cpu"
[[model]]
name = "other"
factory = "fgmf_pair:other"
bounds = [0, 1]
device = "cpu"
[data]
factory = "fgmf_pair:data"
[[gate]]
kind = "robustness"
model = "gated"
norm = "linf"
epsilon = 0.02
min_robust_accuracy = 0.5
save_failures = false
attacks = [{ name = "transfer", surrogate = "NAME", steps = 20 }]
"""
PAIR = """
from tiny_models import CurvedModel, make_images
def gated(): return CurvedModel()
def other(): return CurvedModel()
def data():
    images = make_images(40, margin=0.2)
    return images, CurvedModel()(images).argmax(dim=1)
"""


def _file(directory: Path, name: str) -> Path:
    (directory / "fgmf_pair.py").write_text(PAIR)
    (directory / "fgmf.toml").write_text(GATE_FILE.replace("NAME", name))
    return directory / "fgmf.toml"


def test_another_model_of_the_gate_file_is_the_surrogate(tmp_path: Path) -> None:
    notes: list[str] = []
    gate_file = load_gate_file(_file(tmp_path, "other"), profile="default")
    settings = RunSettings(cache_directory=tmp_path / "cache", notify=notes.append)
    verdict = GateRun(gate_file, settings).run(gate_file.gates[0])
    model = classify(CurvedModel())
    expected = _check(model, model, {"name": "apgd-margin", "steps": 20})
    assert verdict.evidence["broken_images"] == expected.evidence["broken_images"]
    assert any("as a surrogate" in note for note in notes)


def test_a_surrogate_that_the_gate_file_lacks_is_a_problem_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidGateFile, match=r"surrogate = one of train, gated, other") as caught:
        load_gate_file(_file(tmp_path, "nobody"), profile="default")
    assert [problem.location for problem in caught.value.problems] == ["gate[0].attacks"]


def test_the_cache_tells_surrogates_apart_and_knows_the_same_again(tmp_path: Path) -> None:
    def cached(seed: int) -> int:
        context = RunContext(cache_directory=tmp_path)
        gate = _gate("transfer", seed=seed)
        return gate.check(
            classify(CurvedModel()), IMAGES, LABELS, context=context
        ).cost.cached_images

    assert cached(1) == 0
    assert cached(1) == 40
    assert cached(2) == 0


class Counts(CurvedModel):
    """Changes with each pass, or with each pass that wants a gradient."""

    def __init__(self, *, always: bool) -> None:
        super().__init__()
        self.always = always
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.always or images.requires_grad:
            self.passes += 1
        return super().forward(images)


@pytest.mark.parametrize("always", [True, False])
def test_a_surrogate_that_changes_with_its_passes_is_an_error_that_names_it(
    *, always: bool
) -> None:
    verdict = _check(classify(CurvedModel()), classify(Counts(always=always)), SELF)
    assert verdict.outcome is Outcome.ERROR
    assert "surrogate 'other'" in verdict.reason
    assert "changed passes" in verdict.reason


def test_a_surrogate_that_raises_is_an_error_that_names_it() -> None:
    class Strange(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise KeyError("no such thing")

    verdict = _check(classify(CurvedModel()), classify(Strange()), SELF)
    assert verdict.outcome is Outcome.ERROR
    assert "the surrogate 'other'" in verdict.reason
    assert "KeyError: 'no such thing'" in verdict.reason
