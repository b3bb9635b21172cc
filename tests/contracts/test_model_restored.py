"""Promise: whatever a public function does with a classifier, the model comes back as it was.

Every public function that takes a classifier is here, and a test sees to it. Each is run as it is
meant to be, and with a model that raises in the middle: an error of its own, and Ctrl-C.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect as inspection
import pkgutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from contracts.room_cases import NOT_IN_ROOMS, ROOM_CASES
from specimen import Specimen, observe, surroundings
from tiny_models import classify, keys_of, make_images, measure, rule

import fgmf
from fgmf.attacks.building import build_attack
from fgmf.attacks.interface import AttackBatch
from fgmf.attacks.plans import plan_attacks
from fgmf.attacks.sources import AttackSources
from fgmf.attacks.surrogates import train_surrogate
from fgmf.caching import DiskCache, open_cache
from fgmf.caching.conditions import run_digest
from fgmf.corruption_accuracy import CorruptionPlan, measure_corruptions, plan_cells
from fgmf.datasets import Samples
from fgmf.failures import load_failures, replay
from fgmf.failures.examples import still_broken
from fgmf.failures.repeating import repeat_attack
from fgmf.gates import CorruptionGate, RobustnessGate, RunContext
from fgmf.gates.corruption_check import check_corruptions
from fgmf.gates.corruption_evidence import evidence_of_corruptions
from fgmf.gates.robustness_check import check_robustness
from fgmf.gates.robustness_evidence import evidence_of, rerun_of
from fgmf.gates.robustness_sources import prepare_sources
from fgmf.gates.subject import MeasuredImages
from fgmf.preflight import inspect
from fgmf.preflight.behaviour import observe_batch_dependence, repeat_forward
from fgmf.preflight.consistency import observe_consistency
from fgmf.preflight.data import measure_images
from fgmf.preflight.gradients import measure_gradients
from fgmf.preflight.normalisation import observe_scalings
from fgmf.preflight.outputs import describe_failure
from fgmf.robustness import RobustnessPlan, measure_shared, measure_until_enough
from fgmf.robustness.known import KnownImages
from fgmf.robustness.starts import accept_starts, find_starts
from fgmf.running.replaying import replay_failures
from fgmf.threat import ThreatModel
from fgmf.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fgmf.classifier import Classifier
    from fgmf.corruption_accuracy import CorruptionMeasurement

IMAGES = make_images(6, margin=0.05)
THREAT = ThreatModel(norm="linf", epsilon=0.2)
GATE = RobustnessGate(
    norm="linf",
    epsilon=0.2,
    min_robust_accuracy=0.5,
    attacks=("pgd", "deepfool"),
    waive=("clean-accuracy-at-chance", "normalisation-missing", "too-few-images"),
)
CORRUPTION = CorruptionGate(
    min_corruption_accuracy=0.5,
    corruptions=("gaussian-noise", "translation", "jpeg"),
    waive=("clean-accuracy-at-chance", "normalisation-missing", "too-few-images"),
)
LEAST_LIKELY = GATE.model_copy(
    update={"criterion": "targeted", "target": "least-likely", "attacks": ()}
)


def labels_of(classifier: Classifier) -> torch.Tensor:
    return torch.arange(len(IMAGES)) % 3


def _built(classifier: Classifier, name: str) -> None:
    with classifier.guard():
        (plan,) = plan_attacks([(name, {"steps": 3}, None)], restarts=1)
        labels = labels_of(classifier)
        batch = AttackBatch(images=IMAGES, criterion=rule(labels), keys=keys_of(IMAGES))
        build_attack(plan, classifier, THREAT, seed=0).run(batch, restart=0)


def _transferred(classifier: Classifier) -> None:
    """The model as the surrogate of another."""
    (plan,) = plan_attacks([("transfer", {"steps": 3}, None)], restarts=1)
    sources = AttackSources(surrogates={"train": classifier})
    sources.passes(besides=classifier)
    batch = AttackBatch(images=IMAGES, criterion=rule(labels_of(classifier)), keys=keys_of(IMAGES))
    other = classify(torch.nn.Flatten())
    build_attack(plan, other, THREAT, seed=0, sources=sources).run(batch, restart=0)


def _sources(classifier: Classifier) -> None:
    """Asked for its predictions, and the surrogate of itself."""
    prepare_sources(
        plan_attacks([("transfer", {}, None), ("transfer", {"surrogate": "o"}, None)], restarts=1),
        classifier,
        _measured_images(classifier),
        threat=THREAT,
        seed=0,
        context=RunContext(surrogates=lambda name: classifier),
    )


def _measured_images(classifier: Classifier) -> MeasuredImages:
    return MeasuredImages(
        images=IMAGES,
        labels=labels_of(classifier),
        indices=list(range(6)),
        keys=list(keys_of(IMAGES)),
        class_sizes={},
        dataset_size=6,
    )


def _evidence(classifier: Classifier) -> None:
    result = measure(classifier, IMAGES, labels_of(classifier))
    evidence_of(GATE, result, _measured_images(classifier), THREAT, classifier)
    rerun_of(GATE, result, classifier)


def _corruptions(classifier: Classifier) -> CorruptionMeasurement:
    plan = CorruptionPlan(
        cells=plan_cells(CORRUPTION.corruptions, (1, 5)), bounds=classifier.bounds, seed=0
    )
    labels = labels_of(classifier)
    return measure_corruptions(classifier, IMAGES, labels, plan, keys=keys_of(IMAGES))


def _corruption_evidence(classifier: Classifier) -> None:
    result = _corruptions(classifier)
    evidence_of_corruptions(CORRUPTION, result, _measured_images(classifier), classifier)


def _starts(classifier: Classifier) -> None:
    with classifier.guard():
        logits = classifier.logits_in_batches(IMAGES)
        options: dict[str, Any] = {"keys": keys_of(IMAGES), "seed": 0, "wanted": range(6)}
        find_starts(classifier, IMAGES, logits, rule(logits.argmax(dim=1)), **options)


def _accepted_starts(classifier: Classifier) -> None:
    with classifier.guard():
        accept_starts(classifier, dict(enumerate(IMAGES)), rule(labels_of(classifier)))


def _repeat(classifier: Classifier) -> None:
    with classifier.guard():
        repeat_forward(classifier, IMAGES, seed=0)


def _batches(classifier: Classifier) -> None:
    with classifier.guard():
        logits = classifier.logits_in_batches(IMAGES)
        list(observe_batch_dependence(classifier, IMAGES, logits, seed=0))


def _gradients(classifier: Classifier) -> None:
    with classifier.guard():
        measure_gradients(classifier, IMAGES)


def _consistency(classifier: Classifier) -> None:
    with classifier.guard():
        measured = measure_gradients(classifier, IMAGES)
        list(observe_consistency(classifier, IMAGES, measured, seed=0))


def _scalings(classifier: Classifier) -> None:
    with classifier.guard():
        passes = repeat_forward(classifier, IMAGES, seed=0)
        statistics = measure_images(IMAGES)
        list(observe_scalings(classifier, IMAGES, labels_of(classifier), passes, statistics))


def _failure(classifier: Classifier) -> None:
    with classifier.guard():
        classifier.logits(IMAGES)
        list(describe_failure(classifier, IMAGES, fgmf.errors.InvalidInput("no logits")))


class Alone:
    """The only process of a run."""

    rank, count = 0, 1

    def exchange(self, document: Any) -> list[Any]:
        return [document]


def _shared(classifier: Classifier) -> object:
    plan = RobustnessPlan(
        threat=THREAT, attacks=plan_attacks([("pgd", {}, None)], restarts=1), seed=0
    )
    criterion = rule(labels_of(classifier))
    return measure_shared(
        classifier, IMAGES, criterion, plan, keys=keys_of(IMAGES), processes=Alone()
    )


def _blocks(classifier: Classifier) -> object:
    labels = labels_of(classifier)
    return measure_until_enough(
        classifier,
        IMAGES,
        rule(labels),
        RobustnessPlan(
            threat=THREAT, attacks=plan_attacks([("pgd", {}, None)], restarts=2), seed=0
        ),
        keys=keys_of(IMAGES),
        enough=lambda known: False,
    )


def _cached(classifier: Classifier) -> None:
    criterion = rule(labels_of(classifier))
    attacks = plan_attacks([("pgd", {}, None)], restarts=1)
    plan = RobustnessPlan(threat=THREAT, attacks=attacks, seed=0)
    nowhere, options = Path("there-is-no-cache"), {"rule": ("misclassification", 1)}
    open_cache(nowhere, classifier, plan, **options, notify=lambda message: None)  # type: ignore[arg-type]
    with contextlib.suppress(fgmf.errors.NotCacheable):
        run_digest(classifier, plan, **options)  # type: ignore[arg-type]
    cache = DiskCache(directory=nowhere, run="0" * 64, starts=True, notify=lambda message: None)
    with classifier.guard():
        asking = replace(plan, cache=cache)
        known = KnownImages(classifier, IMAGES, criterion, asking, keys_of(IMAGES))
        known.recall(range(len(IMAGES)))


CASES: dict[str, Callable[[Classifier], object]] = {
    **ROOM_CASES,
    "fgmf.caching.conditions.run_digest": _cached,
    "fgmf.caching.outcomes.open_cache": _cached,
    "fgmf.robustness.known.KnownImages.__init__": _cached,
    "fgmf.attacks.building.build_attack": lambda c: _built(c, "apgd-ce"),
    "fgmf.attacks.own_bridge.OwnAttack.__init__": lambda c: _built(c, "minimum-margin"),
    "fgmf.attacks.outside_bridge.TransferAttack.__init__": _transferred,
    "fgmf.attacks.sources.AttackSources.passes": _transferred,
    "fgmf.attacks.surrogates.train_surrogate": lambda c: train_surrogate(c, IMAGES, seed=0),
    "fgmf.gates.robustness_sources.prepare_sources": _sources,
    "fgmf.attacks.foolbox_bridge.FoolboxAttack.__init__": lambda c: [
        _built(c, name) for name in ("pgd", "fmn")
    ],
    "fgmf.corruption_accuracy.measure.measure_corruptions": _corruptions,
    "fgmf.gates.corruption.CorruptionGate.check": lambda c: CORRUPTION.check(
        c, IMAGES, labels_of(c)
    ),
    "fgmf.gates.corruption_check.check_corruptions": lambda c: check_corruptions(
        CORRUPTION, c, IMAGES, labels_of(c), RunContext()
    ),
    "fgmf.gates.corruption_evidence.evidence_of_corruptions": _corruption_evidence,
    "fgmf.gates.robustness.RobustnessGate.check": lambda c: GATE.check(c, IMAGES, labels_of(c)),
    "fgmf.gates.robustness_check.check_robustness": lambda c: check_robustness(
        LEAST_LIKELY, c, IMAGES, labels_of(c), RunContext()
    ),
    "fgmf.failures.circumstances.circumstances_of": _evidence,
    "fgmf.gates.robustness_evidence.evidence_of": _evidence,
    "fgmf.gates.robustness_evidence.rerun_of": _evidence,
    "fgmf.preflight.behaviour.repeat_forward": _repeat,
    "fgmf.preflight.behaviour.observe_batch_dependence": _batches,
    "fgmf.preflight.consistency.observe_consistency": _consistency,
    "fgmf.preflight.gradients.measure_gradients": _gradients,
    "fgmf.preflight.inspection.inspect": lambda c: inspect(
        c, Samples(images=IMAGES, labels=labels_of(c)), threat=THREAT
    ),
    "fgmf.preflight.normalisation.observe_scalings": _scalings,
    "fgmf.preflight.outputs.describe_failure": _failure,
    "fgmf.robustness.blocks.measure_until_enough": _blocks,
    "fgmf.robustness.sharding.measure_shared": _shared,
    "fgmf.robustness.measure.measure_robustness": lambda c: measure(
        c, IMAGES, labels_of(c), attacks=["pgd", "hop-skip-jump", "additive-noise"], norm="l2"
    ),
    "fgmf.robustness.starts.accept_starts": _accepted_starts,
    "fgmf.robustness.starts.find_starts": _starts,
}
SAVED: dict[str, Callable[[Path, Classifier], object]] = {
    "fgmf.failures.examples.still_broken": lambda d, c: still_broken(load_failures(d), c, seed=0),
    "fgmf.failures.repeating.repeat_attack": lambda d, c: repeat_attack(
        load_failures(d), c, seed=0
    ),
    "fgmf.failures.replaying.replay": replay,
    "fgmf.running.replaying.replay_failures": lambda d, c: replay_failures(d, lambda _: c),
}
NOT_FUNCTIONS = {
    *NOT_IN_ROOMS,
    "fgmf.attacks.sources.AttackSources.__init__",  # values only
    "fgmf.attacks.surrogates.Surrogate.__init__",  # values only
    "fgmf.gates.specification.RunContext.__init__",  # values only
    "fgmf.gates.checking.GateCheck.__init__",  # abstract
    "fgmf.gates.specification.Gate.check",  # a protocol
    "fgmf.robustness.known.AskedImages.__init__",  # values only
}


def assert_restored(
    call: Callable[[Classifier], object], error: BaseException | None, passes: int, dtype: str
) -> None:
    module = Specimen().train()
    module.features[1].eval()
    classifier = classify(module, dtype=dtype, batch_size=4)
    torch.manual_seed(1)
    before, around = dict(observe(module)), surroundings()
    if error is not None:
        module.fuse.left, module.fuse.error = passes, error
    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            call(classifier)
    else:
        with contextlib.nullcontext() if error is None else contextlib.suppress(Exception):
            result = call(classifier)
            if error is None and isinstance(result, Verdict):
                assert result.outcome is not Outcome.ERROR
    after = dict(observe(module))
    assert sorted(after) == sorted(before)
    assert {name for name in before if after[name] != before[name]} == set()
    assert surroundings() == around


ERRORS = [
    pytest.param(None, 0, id="as meant"),
    pytest.param(RuntimeError("in the middle"), 0, id="raises first"),
    pytest.param(RuntimeError("in the middle"), 1, id="raises later"),
    pytest.param(KeyboardInterrupt(), 0, id="stopped first"),
    pytest.param(KeyboardInterrupt(), 1, id="stopped later"),
]


@pytest.mark.parametrize(("error", "passes"), ERRORS)
@pytest.mark.parametrize("name", CASES)
def test_the_model_comes_back_as_it_was(
    name: str, error: BaseException | None, passes: int
) -> None:
    assert_restored(CASES[name], error, passes, "auto")


@pytest.mark.parametrize(("error", "passes"), ERRORS[::2])
def test_the_model_comes_back_from_another_precision(
    error: BaseException | None, passes: int
) -> None:
    for name in ("fgmf.gates.robustness.RobustnessGate.check", "fgmf.preflight.inspection.inspect"):
        assert_restored(CASES[name], error, passes, "float64")


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Broken images of this model, saved by a gate that failed."""
    folder = tmp_path_factory.mktemp("failures")
    classifier = classify(Specimen())
    with classifier.guard():
        labels = classifier.predict(IMAGES)
    context = RunContext(failures_directory=folder, root=folder)
    gate = GATE.model_copy(update={"min_robust_accuracy": 0.99})
    verdict = gate.check(classifier, IMAGES, labels, context=context)
    assert verdict.artifacts, verdict.reason
    return (folder / verdict.artifacts[0]).parent


@pytest.mark.parametrize(("error", "passes"), ERRORS)
@pytest.mark.parametrize("name", SAVED)
def test_the_model_comes_back_from_a_replay(
    evidence: Path, name: str, error: BaseException | None, passes: int
) -> None:
    assert_restored(lambda classifier: SAVED[name](evidence, classifier), error, passes, "auto")


def takers_of_classifiers() -> Iterator[str]:
    """Public functions and methods of the library with a classifier among their arguments."""
    for entry in pkgutil.walk_packages(fgmf.__path__, "fgmf."):
        module = importlib.import_module(entry.name)
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", "") != entry.name:
                continue
            members = vars(thing) if inspection.isclass(thing) else {"": thing}
            for member, function in members.items():
                hidden = member.startswith("_") and member != "__init__"
                if hidden or not inspection.isfunction(function):
                    continue
                given = {k: v for k, v in function.__annotations__.items() if k != "return"}
                if any("Classifier" in str(annotation) for annotation in given.values()):
                    yield f"{entry.name}.{name}.{member}".rstrip(".")


def test_every_function_that_takes_a_classifier_is_here() -> None:
    """A new one belongs into the cases above."""
    assert set(takers_of_classifiers()) == {*CASES, *SAVED, *NOT_FUNCTIONS}
