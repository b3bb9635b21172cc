"""A cache changes what a gate costs, and nothing else that it says or writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_models import CurvedModel, LinearModel, make_images
from torch import nn

from fgmf.errors import ModelStateChanged
from fgmf.reporting import encode_report, report_document

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fgmf.verdict import Verdict

COUNT = 90
PIXELS = make_images(COUNT, margin=0.05)
LABELS = CurvedModel()(PIXELS).argmax(dim=1)
LABELS[::9] = (LABELS[::9] + 1) % 4
NOISE = {"name": "additive-noise", "repeats": 2, "restarts": 2}
ATTACKS: tuple[Any, ...] = (NOISE, {"name": "pgd", "steps": 5})
WALKS: tuple[Any, ...] = (NOISE, {"name": "hop-skip-jump", "steps": 1})
RADII: tuple[Any, ...] = (NOISE, {"name": "minimum-norm", "steps": 8}, {"name": "pgd", "steps": 4})


class Bench:
    """Gates on one tiny model, with and without a cache; what is written goes to a folder."""

    def __init__(self, check: Callable[..., Verdict], folder: Path) -> None:
        self.check, self.folder, self.notes = check, folder, list[str]()
        self.cache = folder / ".fgmf" / "cache"

    def __call__(self, model: Any = None, *, cached: bool = True, **gate: Any) -> Verdict:
        context: dict[str, Any] = {
            "failures_directory": self.folder / ".fgmf" / "failures",
            "root": self.folder,
        }
        if cached:
            context |= {"cache_directory": self.cache, "notify": self.notes.append}
        settings: dict[str, Any] = {
            "pixels": PIXELS,
            "labels": LABELS,
            "norm": "l2",
            "epsilon": 0.3,
            "attacks": ATTACKS,
            "min_robust_accuracy": 0.95,
            "images": "all",
        }
        model = CurvedModel() if model is None else model
        return self.check(model, context=context, **{**settings, **gate})

    def files(self) -> dict[str, bytes]:
        failures = self.folder / ".fgmf" / "failures"
        found = sorted(p for p in failures.rglob("*") if p.is_file())
        return {str(p.relative_to(failures)): p.read_bytes() for p in found}


@pytest.fixture
def bench(check: Callable[..., Verdict], tmp_path: Path) -> Bench:
    return Bench(check, tmp_path)


def reported(verdict: Verdict) -> str:
    """The report, byte by byte, less cost."""
    document = json.loads(encode_report(report_document([verdict], run={})))
    cost = document["verdicts"][0].pop("cost")
    assert set(cost) == {"forward_passes", "backward_passes", "seconds", "cached_images"}
    return json.dumps(document)


def attacked(verdict: Verdict) -> int:
    return COUNT - len(verdict.evidence["misclassified_images"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "attacks", [ATTACKS, WALKS, RADII, "quick"], ids=["gradients", "walks", "radii", "suite"]
)
@pytest.mark.parametrize("sequential", [False, True])
def test_cold_and_warm_report_what_is_reported_without_a_cache(
    bench: Bench, attacks: Any, *, sequential: bool
) -> None:
    named = {"suite": attacks, "attacks": ()} if isinstance(attacks, str) else {"attacks": attacks}
    gate = {**named, "sequential": sequential, "min_robust_accuracy": 0.5}
    plain = bench(cached=False, **gate)
    files = bench.files()
    cold, warm = bench(**gate), bench(**gate)
    assert bench.notes == []
    assert reported(cold) == reported(warm) == reported(plain)
    assert bench.files() == files
    assert len(files) == 3  # with examples: they must be the same bytes as well
    assert (plain.cost.cached_images, cold.cost.cached_images) == (0, 0)
    assert warm.cost.cached_images > 0.5 * warm.image_count
    assert warm.cost.forward_passes < cold.cost.forward_passes
    assert cold.cost.backward_passes == plain.cost.backward_passes


def test_every_decided_image_is_taken_the_second_time(bench: Bench) -> None:
    cold, warm = bench(), bench()
    assert 0 < len(cold.evidence["broken_images"]) < attacked(cold)  # type: ignore[arg-type]
    assert warm.cost.cached_images == attacked(cold)


def test_other_images_other_thresholds_and_other_batches_find_what_is_theirs(
    bench: Bench,
) -> None:
    bench(images=40, seed=3)
    gates: tuple[dict[str, Any], ...] = (
        {"images": 70},
        {"images": "all"},
        {"images": 25, "classifier": {"batch_size": 4}},
        {"images": 60, "min_robust_accuracy": 0.2, "sequential": True},
        {"images": 80, "min_worst_class_robust_accuracy": 0.1, "confidence": 0.8},
    )
    for gate in gates:
        plain = bench(cached=False, seed=3, **gate)
        before = bench.files()
        part = bench(seed=3, **gate)
        assert reported(part) == reported(plain)
        assert bench.files() == before
        assert part.cost.cached_images > 0


def test_examples_beyond_those_of_the_evidence_are_kept_as_well(bench: Bench) -> None:
    cold, warm = bench(epsilon=2.0), bench(epsilon=2.0)
    assert len(cold.evidence["broken_images"]) > 64  # type: ignore[arg-type]
    assert warm.cost.cached_images == attacked(cold)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"epsilon": 0.31},
        {"norm": "linf", "epsilon": 0.05},
        {"attacks": ATTACKS[:1]},
        {"attacks": (NOISE, {"name": "pgd", "steps": 6})},
        {"restarts": 2},
        {"criterion": "top-k", "top_k": 2},
        {"criterion": "targeted", "target": "least-likely", "attacks": ("pgd",)},
        {"classifier": {"normalize": {"mean": 0.001, "std": 1.0}}},
        {"classifier": {"dtype": "float64"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_was_measured_otherwise_is_not_taken(bench: Bench, change: dict[str, Any]) -> None:
    bench(seed=7)
    assert bench(seed=7).cost.cached_images > 0
    assert bench(**{"seed": 7, **change}).cost.cached_images == 0
    assert bench.notes == []


def test_where_attacks_walk_from_other_images_all_of_them_must_be_the_same(bench: Bench) -> None:
    pixels = PIXELS.clone()
    pixels[1] += 1e-4
    for attacks, taken in ((ATTACKS, True), (WALKS, False)):
        bench(attacks=attacks)
        assert (
            bench(attacks=attacks, pixels=pixels[:60], labels=LABELS[:60]).cost.cached_images > 0
        ) is taken


def test_one_changed_weight_takes_nothing(bench: Bench) -> None:
    bench()
    model = CurvedModel()
    with torch.no_grad():
        model.weight[0, 0] += 1e-7
    assert bench(model).cost.cached_images == 0


def test_a_changed_label_or_image_takes_all_but_itself(bench: Bench) -> None:
    cold = bench(epsilon=0.05)
    robust = sorted({*range(1, COUNT)} - {*range(0, COUNT, 9)} - {*cold.evidence["broken_images"]})  # type: ignore[misc]
    labels, pixels = LABELS.clone(), PIXELS.clone()
    pixels[robust[0]] += 1e-4
    labels[robust[1]] = (labels[robust[1]] + 1) % 4
    warm = bench(epsilon=0.05, pixels=pixels, labels=labels)
    assert warm.cost.cached_images == attacked(cold) - 2


class Shaken(LinearModel):
    """Draws in every pass."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images) + torch.rand(())


def test_what_cannot_be_repeated_is_not_cached_and_the_user_hears_why(bench: Bench) -> None:
    hooked = CurvedModel()
    hooked.register_forward_hook(lambda module, inputs, output: output * 1.0)
    with pytest.warns(DeprecationWarning, match="torch.jit.trace"):
        traced = torch.jit.trace(CurvedModel(), PIXELS[:1])
    for model, why in (
        (CurvedModel().forward, "opaque callable"),
        (hooked, "hooks"),
        (traced, "TorchScript"),
    ):
        for _ in range(2):
            assert bench(model).cost.cached_images == 0
        assert all("cache not used" in note and why in note for note in bench.notes)
        assert len(bench.notes) == 2
        bench.notes.clear()
    assert not bench.cache.exists()


def test_a_waived_error_is_not_cached(bench: Bench) -> None:
    waive = ("nondeterministic-output", "gradient-blocked")
    bench(Shaken(), waive=waive)
    assert "nondeterministic-output is waived" in bench.notes[0]
    assert not bench.cache.exists()


def test_time_that_ran_out_leaves_no_survivor(bench: Bench) -> None:
    bench(max_seconds=1e-9)
    assert not bench.cache.exists()
    assert bench().cost.cached_images == 0


class Remembers(nn.Module):
    """Changes its state at an image that only an attack can find."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = CurvedModel()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.requires_grad and len(images) > 64:
            self.seen += 1
        return self.inner(images)


def test_nothing_is_kept_of_a_gate_that_ended_in_an_error(bench: Bench) -> None:
    for _ in range(2):  # a cache that had survivors would hide what made it an error
        verdict = bench(Remembers(), attacks=("fgsm",))
        assert verdict.outcome == "error"
        assert "leave the model as it is" in verdict.reason
    assert not bench.cache.exists()
    assert ModelStateChanged.__name__ not in str(bench.notes)


class Refuses(nn.Module):
    """Raises for the gradient of some images."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = CurvedModel()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        marked = images.flatten(1)[:, 0] == PIXELS.flatten(1)[40, 0]
        if images.requires_grad and bool(marked.any()):
            raise ValueError("marked")
        return self.inner(images)


def test_an_image_with_a_failure_is_attacked_again_and_fails_again(bench: Bench) -> None:
    gate = {"attacks": ({"name": "bim", "steps": 2},), "epsilon": 0.01}
    first = bench(Refuses(), min_robust_accuracy=0.1, **gate)
    again = bench(Refuses(), min_robust_accuracy=0.1, **gate)
    assert first.outcome == "error"
    assert reported(again) == reported(first)
    assert again.cost.cached_images == attacked(first) - 1
