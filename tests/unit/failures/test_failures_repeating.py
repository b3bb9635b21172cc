"""The recorded attack, repeated: the same examples from the same model, and never a silent PASS."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tiny_models import CurvedModel, LinearModel, classify, make_images

from fgmf.attacks.plans import plan_attacks
from fgmf.canonical import tensor_digest
from fgmf.failures import load_failures, replay
from fgmf.failures.repeating import record_plan, recorded_attacks
from fgmf.gates import RobustnessGate, RunContext
from fgmf.reporting import render_details, render_headline
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from fgmf.classifier import Classifier
    from fgmf.datasets import Samples
    from fgmf.verdict import Verdict

WAIVED = ("clean-accuracy-at-chance", "normalisation-missing", "too-few-images")
IMAGES = make_images(60, margin=0.05)
SEVERAL: dict[str, Any] = {
    "linf": [
        {"name": "hop-skip-jump", "steps": 1},
        {"name": "pgd", "steps": 2, "rel_stepsize": 0.2, "restarts": 3},
        "deepfool",
    ],
    "l2": [
        {"name": "boundary", "steps": 100},
        {"name": "pgd", "steps": 2, "rel_stepsize": 0.2, "restarts": 3},
        "deepfool",
    ],
}


def save(
    directory: Path, classifier: Classifier, pixels: Any = IMAGES, labels: Any = None, **gate: Any
) -> Path:
    """Evidence of a gate that failed; labels are what the model says unless given."""
    if labels is None:
        with classifier.guard():
            labels = classifier.predict(pixels)
    values = {"norm": "linf", "epsilon": 0.03, "min_robust_accuracy": 1.0, "waive": WAIVED} | gate
    context = RunContext(failures_directory=directory, root=directory, run_seed=4)
    verdict = RobustnessGate(name="several", **values).check(
        classifier, pixels, labels, context=context
    )
    assert verdict.artifacts, verdict.reason
    return directory / "several"


def counts(verdict: Verdict) -> tuple[Any, ...]:
    names = ("still_broken", "broken_again", "identical_examples", "same_model")
    return tuple(verdict.evidence[name] for name in names)


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.03), ("l2", 0.15)])
def test_every_example_is_found_again_bit_by_bit(tmp_path: Path, norm: str, epsilon: float) -> None:
    directory = save(
        tmp_path, classify(CurvedModel(4)), norm=norm, epsilon=epsilon, attacks=SEVERAL[norm]
    )
    saved = load_failures(directory)
    assert len(set(saved.attack_names)) == 3, saved.attack_names
    verdict = replay(directory, classify(CurvedModel(4), batch_size=7))
    count = len(saved.images)
    assert 3 < count < len(IMAGES)  # the other images of the sample are not there any more
    assert counts(verdict) == (count, count, count, True)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.measured == 0.0
    assert verdict.findings == ()
    assert f"breaks {count}/{count} images, {count} by the identical" in render_headline(verdict)
    assert verdict.seed == saved.recipe["gate_seed"]
    for row, image in enumerate(verdict.evidence["images"]):
        assert image["attack"] == image["attack_again"] == saved.attack_names[row]


def test_digits_are_broken_again_by_the_same_attacks_and_a_robust_model_by_fewer(
    tmp_path: Path,
    digits_test: Samples,
    standard_digits_model: nn.Module,
    robust_digits_model: nn.Module,
) -> None:
    model = classify(standard_digits_model)
    images, labels = digits_test.images, digits_test.labels
    options: dict[str, Any] = {"images": 40, "epsilon": 0.1, "attacks": SEVERAL["linf"]}
    directory = save(tmp_path, model, images, labels, **options)
    verdict = replay(directory, classify(standard_digits_model, batch_size=7))
    count = verdict.image_count
    assert counts(verdict)[:2] == (count, count)
    rows: Any = verdict.evidence["images"]
    assert [row["attack"] for row in rows] == [row["attack_again"] for row in rows]
    assert len({row["attack"] for row in rows}) > 1
    # Convolutions round by the size of the batch: other bits, the same examples.
    assert verdict.evidence["changed"] == ["batch_size 128 -> 7"]
    assert all(finding.name == "examples-differ" for finding in verdict.findings)
    assert all(finding.evidence["largest_difference"] < 1e-3 for finding in verdict.findings)

    better = replay(directory, classify(robust_digits_model))
    still, again, identical, same = counts(better)
    assert 0 < still < again < count
    assert (identical, same) == (0, False)
    assert better.outcome is Outcome.FAIL
    assert better.findings == ()
    broken = [
        row for row in better.evidence["images"] if row["still_broken"] or row["broken_again"]
    ]
    assert better.measured == (count - len(broken)) / count
    details = render_details(better)
    assert f"saved examples: {still} of {count} still break the model" in details
    assert f"repeated attack: breaks {again} of {count} images with the recorded seed" in details
    assert "model: another than the recorded one" in details


class Threshold(torch.nn.Module):
    """Class 1 above a brightness. Its list is no part of the digest: a hidden dependence."""

    def __init__(self, brightness: float = 0.5, *, hidden: float = 0.0) -> None:
        super().__init__()
        self.brightness = torch.nn.Parameter(torch.tensor(brightness))
        self.elsewhere = [hidden]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        above = images.mean(dim=(1, 2, 3)) - self.brightness - self.elsewhere[0]
        return torch.stack([-above, above], dim=1)


@pytest.fixture
def dark(tmp_path: Path) -> Path:
    """Evidence of dark images (0.45 and 0.48) that +0.1 pushes over 0.5; bright ones hold."""
    levels = torch.tensor([0.45, 0.48] * 4 + [0.9] * 4)
    images = levels.reshape(-1, 1, 1, 1) + 0.005 * (make_images(12, shape=(1, 4, 4)) - 0.5)
    return save(tmp_path, classify(Threshold()), images, epsilon=0.1, attacks=["pgd"])


def test_a_model_that_withstands_both_passes(dark: Path) -> None:
    verdict = replay(dark, classify(Threshold(0.65)))
    assert verdict.outcome is Outcome.PASS
    assert verdict.measured == 1.0
    assert counts(verdict) == (0, 0, 0, False)
    assert render_headline(verdict).startswith(
        "replay: 0/8 saved examples still break the model; the repeated attack breaks 0/8 images "
        "(PGD; Linf eps 0.1; n=8; seed "
    )


def test_a_model_that_withstands_the_saved_examples_alone_fails(dark: Path, evidence: Any) -> None:
    """Examples that stop just beyond the old boundary say little about a boundary a bit further."""
    arrays = dict(np.load(dark / "examples.npz"))
    saved = load_failures(dark)
    nearer = saved.images + 0.6 * (saved.adversarial - saved.images)
    np.savez(dark / "examples.npz", **(arrays | {"adversarial": nearer.numpy()}))
    record = json.loads((dark / "repro.json").read_text())
    for image, entry in zip(nearer, record["images"], strict=True):
        entry["adversarial_digest"] = tensor_digest(image)
    evidence.seal(dark, images=record["images"])
    verdict = replay(dark, classify(Threshold(0.545)))
    assert counts(verdict)[:2] == (0, 8)
    assert verdict.outcome is Outcome.FAIL


def test_images_that_are_wrong_without_an_attack_are_no_pass(dark: Path) -> None:
    verdict = replay(dark, classify(Threshold(0.2)))
    assert verdict.outcome is Outcome.FAIL
    assert counts(verdict)[:2] == (8, 8)
    assert len(verdict.evidence["misclassified_images"]) == 8


def test_the_recorded_model_that_nothing_breaks_is_an_error(dark: Path) -> None:
    verdict = replay(dark, classify(Threshold(hidden=0.15)))
    assert verdict.outcome is Outcome.ERROR
    assert verdict.measured is None
    assert not verdict.passed
    assert counts(verdict) == (0, 0, 0, True)
    assert [finding.name for finding in verdict.findings] == ["reproduction-failed"]
    assert "not measured: reproduction failed (the model is the recorded one): 0/8 saved" in (
        render_headline(verdict)
    )


def test_the_recorded_model_that_breaks_on_fewer_says_so(dark: Path) -> None:
    verdict = replay(dark, classify(Threshold(hidden=0.065)))
    assert verdict.outcome is Outcome.FAIL
    assert counts(verdict) == (4, 4, counts(verdict)[2], True)
    (finding,) = verdict.findings
    assert (finding.name, finding.severity) == ("reproduction-failed", "error")
    assert len(finding.evidence["images"]) == 4
    assert "reproduction failed" in render_headline(verdict)


def test_another_normalisation_makes_another_model(dark: Path) -> None:
    halved = {"mean": [0.0], "std": [2.0]}  # everything is dark for it
    verdict = replay(dark, classify(Threshold(), normalize=halved))
    assert verdict.outcome is Outcome.PASS
    assert verdict.evidence["same_model"] is False
    assert any("normalize None -> " in line for line in verdict.evidence["changed"])


def test_a_callable_has_no_digest_that_would_tell(tmp_path: Path) -> None:
    def model(images: torch.Tensor) -> torch.Tensor:
        return Threshold(brightness[0])(images)

    brightness = [0.5]
    images = 0.45 + 0.01 * make_images(4, shape=(1, 4, 4))
    directory = save(tmp_path, classify(model), images, epsilon=0.1, attacks=["pgd"])
    assert counts(replay(directory, classify(model))) == (4, 4, 4, None)
    brightness[0] = 0.7
    verdict = replay(directory, classify(model))
    assert (verdict.outcome, counts(verdict)) == (Outcome.PASS, (0, 0, 0, None))
    assert "model: perhaps the recorded one" in render_details(verdict)


def test_another_seed_draws_anew_and_misses_nothing(tmp_path: Path) -> None:
    model = classify(CurvedModel(4))
    directory = save(tmp_path, model, attacks=[{"name": "additive-noise", "repeats": 4}])
    same = replay(directory, model)
    other = replay(directory, model, seed=99)
    count = same.image_count
    assert counts(same) == (count, count, count, True)
    assert counts(other)[0] == count
    assert counts(other)[2] == 0
    assert (other.seed, other.findings) == (99, ())
    assert other.reproduce.endswith("several --seed 99")
    assert f"with seed 99 (recorded: {same.seed})" in render_details(other)


@pytest.mark.parametrize("target", [2, "least-likely"])
def test_targets_are_those_of_the_recording(tmp_path: Path, target: Any) -> None:
    model = classify(CurvedModel(4))
    options = {"criterion": "targeted", "target": target, "attacks": ["pgd"], "epsilon": 0.2}
    directory = save(tmp_path, model, **options)
    verdict = replay(directory, model)
    count = verdict.image_count
    assert counts(verdict) == (count, count, count, True)


def test_an_attack_that_cannot_be_carried_out_is_no_pass(dark: Path) -> None:
    def without_gradient(images: torch.Tensor) -> torch.Tensor:
        return Threshold(0.7)(images).detach()

    verdict = replay(dark, classify(without_gradient))
    assert verdict.outcome is Outcome.ERROR
    assert "could not be carried out on 8 (" in render_headline(verdict)
    broken = replay(dark, classify(lambda images: Threshold(0.5)(images).detach()))
    assert broken.outcome is Outcome.FAIL  # the saved examples are enough


def test_a_plan_comes_back_as_it_was(dark: Path) -> None:
    named = [("pgd", {"steps": 3, "rel_stepsize": 1.0}, 2), ("deepfool", {}, None)]
    plans = plan_attacks(named, restarts=5)
    saved = load_failures(dark)
    recipe = dict(saved.recipe)
    recipe["repeat"] = json.loads(
        json.dumps(record_plan(plans, expect_steady=True, tolerate_changes=False))
    )
    object.__setattr__(saved, "recipe", recipe)
    assert recorded_attacks(saved) == plans


def forged(directory: Path, evidence: Any, **recipe: Any) -> Path:
    """Change the recipe, and seal it anew as a forger would."""
    record = json.loads((directory / "repro.json").read_text())
    evidence.seal(directory, recipe=record["recipe"] | recipe)
    return directory


def attack(**changes: Any) -> dict[str, Any]:
    parameters = {"steps": 2, "rel_stepsize": 0.1, "random_start": True}
    entry = {"label": "pgd", "name": "pgd", "parameters": parameters, "restarts": 1} | changes
    return {"attacks": [entry], "expect_steady": True, "tolerate_changes": False}


@pytest.mark.parametrize(
    ("repeat", "words"),
    [
        (None, "valid dictionary"),
        ({"attacks": []}, "Field required"),
        (attack() | {"attacks": []}, "0 attacks"),
        (attack() | {"attacks": attack()["attacks"] * 2}, "not all of different labels"),
        (attack(name="wish"), "'wish'"),
        (attack(name="ddn"), "'ddn' for norm linf"),
        (attack(parameters={"steps": 2}), "pgd with"),
        (attack(parameters=attack()["attacks"][0]["parameters"] | {"steps": 0}), "pgd with"),
        (attack(parameters={"steps": "2"}), "pgd with"),
        (attack(parameters={"steps": [2]}), "valid"),
        (attack(restarts=0), "restarts 0"),
        (attack(restarts=True), "valid integer"),
        (attack(command="rm"), "the keys command"),
    ],
)
def test_attacks_that_are_none_are_refused(
    dark: Path, evidence: Any, repeat: Any, words: str
) -> None:
    verdict = replay(forged(dark, evidence, repeat=repeat), classify(Threshold(0.65)))
    assert verdict.outcome is Outcome.ERROR
    assert words in verdict.reason
    assert "run the gate again" in verdict.reason


@pytest.mark.parametrize("seed", [None, "7", -1, True, 0.5])
def test_a_seed_that_is_none_is_refused(dark: Path, evidence: Any, seed: Any) -> None:
    verdict = replay(forged(dark, evidence, gate_seed=seed), classify(Threshold(0.65)))
    assert verdict.outcome is Outcome.ERROR
    assert f"the seed {seed!r}" in verdict.reason


def test_a_seed_that_was_changed_is_refused_by_its_seal(dark: Path) -> None:
    path = dark / "repro.json"
    record = json.loads(path.read_text())
    record["recipe"]["gate_seed"] += 1
    path.write_text(json.dumps(record))
    verdict = replay(dark, classify(Threshold(0.65)))
    assert verdict.outcome is Outcome.ERROR
    assert "repro.json was changed (digest differs)" in verdict.reason


def test_starts_are_saved_once_and_guarded(tmp_path: Path, evidence: Any) -> None:
    attacks = [{"name": "boundary", "steps": 20}, "deepfool"]
    directory = save(tmp_path, classify(LinearModel(4)), norm="l2", epsilon=0.15, attacks=attacks)
    saved = load_failures(directory)
    assert set(saved.starts) == set(range(len(saved.images)))  # also of what deepfool broke
    arrays = dict(np.load(directory / "examples.npz"))
    assert len(arrays["starts"]) <= len(saved.images)
    for starts, words in (
        (arrays["starts"][:-1], "starts in examples.npz are not those"),
        (arrays["starts"] * 0.9, "starts in examples.npz are not those"),
        (arrays["starts"][:, :, :4], "expected starts of shape"),
    ):
        np.savez(directory / "examples.npz", **(arrays | {"starts": starts}))
        evidence.seal(directory)
        verdict = replay(directory, classify(LinearModel(4)))
        assert verdict.outcome is Outcome.ERROR
        assert words in verdict.reason


def older(directory: Path, evidence: Any) -> Path:
    """Rewrite evidence as the first version wrote it."""
    arrays = dict(np.load(directory / "examples.npz"))
    del arrays["starts"]
    np.savez(directory / "examples.npz", **arrays)
    record = json.loads((directory / "repro.json").read_text())
    for entry in record["images"]:
        del entry["start_digest"]
    for key in ("repeat", "circumstances", "gate_file"):
        del record["recipe"][key]
    changes = {"schema": "fgmf-failure/1", "images": record["images"], "recipe": record["recipe"]}
    evidence.seal(directory, **changes)
    return directory


@pytest.mark.parametrize(("brightness", "outcome"), [(0.5, Outcome.FAIL), (0.65, Outcome.PASS)])
def test_older_evidence_is_judged_by_its_examples_and_says_so(
    dark: Path, evidence: Any, brightness: float, outcome: Outcome
) -> None:
    verdict = replay(older(dark, evidence), classify(Threshold(brightness)))
    assert verdict.outcome is outcome
    assert verdict.evidence["broken_again"] is None
    words = "the attack was not repeated (evidence of the older form fgmf-failure/1 holds examples"
    assert words in render_headline(verdict)
    assert "repeated attack: none (evidence of the older form" in render_details(verdict)


def test_older_evidence_that_its_own_model_withstands_is_an_error(
    dark: Path, evidence: Any
) -> None:
    verdict = replay(older(dark, evidence), classify(Threshold(hidden=0.15)))
    assert verdict.outcome is Outcome.ERROR


def test_a_replay_works_where_gradients_are_switched_off(dark: Path) -> None:
    with torch.inference_mode():
        verdict = replay(dark, classify(Threshold()))
    assert counts(verdict) == (8, 8, 8, True)
