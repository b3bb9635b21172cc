"""The keys of an image and of a run: all of it counts, also where clean logits would tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
import pytest
import torch
from tiny_models import CurvedModel, LinearModel, classify, make_images
from tiny_onnx import export

from fgmf.attacks.entries import CatalogueEntry
from fgmf.attacks.plans import AttackPlan, plan_attacks
from fgmf.attacks.sources import AttackSources
from fgmf.caching import open_cache
from fgmf.caching.code import LoadedCode
from fgmf.caching.conditions import image_digest, run_digest
from fgmf.classifier import Classifier
from fgmf.errors import NotCacheable
from fgmf.robustness import RobustnessPlan
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from pathlib import Path

IMAGE: dict[str, Any] = {"key": "k", "logits": "l", "label": 1, "target": None, "company": ""}


@pytest.mark.parametrize(
    "change",
    [{"key": "m"}, {"logits": "m"}, {"label": 2}, {"target": 2}, {"company": "m"}],
    ids=lambda change: next(iter(change)),
)
def test_everything_counts(change: dict[str, Any]) -> None:
    assert image_digest(**IMAGE) == image_digest(**IMAGE)
    assert image_digest(**IMAGE) != image_digest(**{**IMAGE, **change})


@pytest.fixture(autouse=True)
def _no_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are tested with the code, and looking for them takes most of the time."""
    monkeypatch.setattr(LoadedCode, "versions", lambda self, *, also=(): {})


def _digest(model: Any = None, *, adapter: dict[str, Any] | None = None, **plan: Any) -> str:
    settings = {"bounds": (0.0, 1.0), "device": "cpu", **(adapter or {})}
    classifier = Classifier(LinearModel() if model is None else model, **settings)
    return run_digest(classifier, _plan(**plan), rule=("misclassification", 1))


def _plan(*, attack: tuple[Any, ...] = ("pgd", {}, None), **changes: Any) -> RobustnessPlan:
    values: dict[str, Any] = {
        "threat": ThreatModel(norm="linf", epsilon=0.1, bounds=(0.0, 1.0)),
        "attacks": plan_attacks([attack], restarts=1),
        "seed": 0,
    }
    return RobustnessPlan(**{**values, **changes})


def _threat(**changes: Any) -> ThreatModel:
    values: dict[str, Any] = {"norm": "linf", "epsilon": 0.1, "bounds": (0.0, 1.0)}
    return ThreatModel(**{**values, **changes})


RUNS: dict[str, dict[str, Any]] = {
    "weights": {"model": LinearModel(seed=1)},
    "class": {"model": CurvedModel()},
    "bounds": {"adapter": {"bounds": (0.0, 2.0)}},
    "normalisation": {"adapter": {"normalize": {"mean": 0.1, "std": 1.0}}},
    "dtype": {"adapter": {"dtype": "float64"}},
    "output": {"adapter": {"output": 0}},
    "norm": {"threat": _threat(norm="l2")},
    "epsilon": {"threat": _threat(epsilon=0.1000001)},
    "box": {"threat": _threat(bounds=(0.0, 0.9))},
    "attack": {"attack": ("bim", {}, None)},
    "parameter": {"attack": ("pgd", {"steps": 7}, None)},
    "restarts": {"attack": ("pgd", {}, 2)},
    "sources": {"sources": AttackSources(surrogate_digests={"train": "a"})},
    "seed": {"seed": 1},
}


@pytest.mark.parametrize("change", RUNS.values(), ids=RUNS)
def test_every_condition_of_a_run_counts(change: dict[str, Any]) -> None:
    assert _digest() == _digest()
    assert _digest() != _digest(**change)


MACHINES: dict[str, tuple[str, Any]] = {
    "code of the package": ("package_digest", lambda: "another"),
    "processor": ("_processor", lambda: "another"),
    "Python": ("platform.python_version", lambda: "9.9"),
    "precision": ("torch.get_float32_matmul_precision", lambda: "medium"),
    "default type": ("torch.get_default_dtype", lambda: "another"),
    "deterministic algorithms": ("torch.are_deterministic_algorithms_enabled", lambda: "another"),
}


@pytest.mark.parametrize("change", MACHINES.values(), ids=MACHINES)
def test_the_machine_and_its_switches_count(
    monkeypatch: pytest.MonkeyPatch, change: tuple[str, Any]
) -> None:
    before = _digest()
    monkeypatch.setattr(f"fgmf.caching.conditions.{change[0]}", change[1])
    assert _digest() != before


def test_what_is_not_a_condition_does_not_count() -> None:
    assert _digest(adapter={"batch_size": 7}) == _digest()
    assert _digest(deadline=1.0, example_limit=3) == _digest()


def test_an_onnx_file_with_weights_elsewhere_is_refused(tmp_path: Path) -> None:
    path = export(LinearModel(), tmp_path / "m.onnx", make_images(1), names=["z"], fixed=True)
    model = onnx.load(path)
    assert _digest(str(path)) == _digest(str(path))
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=500)
    with pytest.raises(NotCacheable, match="other files"):
        _digest(str(path))


def _foreign() -> AttackPlan:
    entry = CatalogueEntry(name="nudge", title="nudge", engine="extension", made_for=("linf",))

    class Announced(AttackPlan):
        @property
        def entry(self) -> CatalogueEntry:
            return entry

    return Announced(label="nudge", name="nudge", parameters={}, restarts=1)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "random": ({"expect_steady": False}, "not expected to be the same twice"),
    "starts": ({"starts": {0: torch.zeros(1)}}, "images to walk from were given"),
    "other model": (
        {"sources": AttackSources(surrogates={"other": classify(LinearModel())})},
        "the model 'other' makes examples",
    ),
    "other package": ({"attacks": (_foreign(),)}, "nudge is an attack of another package"),
}


@pytest.mark.parametrize(("change", "why"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_told_apart_opens_no_cache(
    tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    notes: list[str] = []
    cache = open_cache(
        tmp_path,
        classify(LinearModel()),
        _plan(**change),
        rule=("misclassification", 1),
        notify=notes.append,
    )
    assert cache is None
    assert len(notes) == 1
    assert notes[0].startswith("cache not used: ")
    assert why in notes[0]
