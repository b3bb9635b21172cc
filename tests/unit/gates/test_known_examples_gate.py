from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tiny_models import CurvedModel, classify, make_images

from fgmf.errors import InvalidGateFile
from fgmf.gates import RobustnessGate
from fgmf.gates.specification import RunContext
from fgmf.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from fgmf.types import Json

IMAGES = make_images(40, margin=0.2)
LABELS = CurvedModel()(IMAGES).argmax(dim=1)


def _check(
    directory: Path, *, save: bool = False, images: torch.Tensor = IMAGES, **options: Any
) -> Verdict:
    values = {"norm": "linf", "epsilon": 0.02, "min_robust_accuracy": 0.99, "images": "all"}
    gate = RobustnessGate(**{**values, "attacks": ("apgd-margin",), "name": "g", **options})
    context = RunContext(
        root=directory,
        directory=directory,
        failures_directory=directory / "saved" if save else None,
    )
    return gate.check(classify(CurvedModel()), images, LABELS[: len(images)], context=context)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Directory of a gate file, with the failures of a gate in ``saved/g``."""
    assert _check(tmp_path, save=True).outcome is Outcome.FAIL
    return tmp_path


def _rows(verdict: Verdict) -> list[Any]:
    rows: Any = verdict.evidence["attacks"]
    return list(rows)


def _source(verdict: Verdict) -> dict[str, Json]:
    sources: Any = verdict.evidence["sources"]
    return dict(sources["known-examples"]["saved/g"])


def test_what_failed_fails_at_once(store: Path) -> None:
    first = _check(store)
    again = _check(store, attacks=("random-search",), known_examples="saved/g")
    assert again.evidence["broken_images"] == first.evidence["broken_images"]
    broken = len(first.evidence["broken_images"])  # type: ignore[arg-type]
    assert [row["name"] for row in _rows(again)] == ["known-examples", "random-search"]
    assert _rows(again)[0]["broken"] == broken > 5
    source = _source(again)
    assert (source["stored"], source["offered"]) == (broken, broken)
    assert str(source["digest"]).startswith("sha256:")


def test_known_examples_cost_a_pass_to_judge_and_one_to_verify(store: Path) -> None:
    options: Any = {"attacks": ("fgsm",), "epsilon": 0.02}
    plain, known = _check(store, **options), _check(store, **options, known_examples="saved/g")
    broken = int(_rows(known)[0]["broken"])
    assert known.cost.forward_passes <= plain.cost.forward_passes + 2 * broken
    assert known.cost.backward_passes <= plain.cost.backward_passes - broken


def test_it_runs_before_a_suite(store: Path) -> None:
    verdict = _check(store, attacks=(), suite="quick", known_examples="saved/g")
    names = [row["name"] for row in _rows(verdict)]
    assert names == ["known-examples", "apgd-ce", "focused-margin"]
    assert verdict.evidence["suite"] == "quick"


def test_it_can_stand_among_attacks(store: Path) -> None:
    named = {"name": "known-examples", "path": "saved/g"}
    verdict = _check(store, attacks=("random-search", named))
    assert _rows(verdict)[1]["broken"] > 5


def test_examples_outside_a_smaller_ball_do_not_count(store: Path) -> None:
    verdict = _check(store, epsilon=0.005, attacks=("random-search",), known_examples="saved/g")
    source = _source(verdict)
    assert source["of_these_images"] == source["stored"]
    assert source["offered"] == 0
    assert _rows(verdict)[0]["broken"] == 0


def test_other_images_have_no_known_examples(store: Path) -> None:
    other = make_images(8, margin=0.2, seed=9)
    verdict = _check(store, images=other, attacks=("random-search",), known_examples="saved/g")
    assert _source(verdict)["of_these_images"] == 0
    assert _rows(verdict)[0]["broken"] == 0


def test_the_store_is_part_of_the_configuration(store: Path, tmp_path: Path) -> None:
    options: Any = {"attacks": ("random-search",), "known_examples": "saved/g"}
    before = _check(store, **options).evidence["configuration"]
    _check(store, save=True, epsilon=0.018)
    after = _check(store, **options).evidence["configuration"]
    assert before["sources"] != after["sources"]  # type: ignore[index,call-overload]


def test_failures_found_with_known_examples_are_replayed_by_their_examples(store: Path) -> None:
    from fgmf.failures import replay

    verdict = _check(store, save=True, name="again", known_examples="saved/g")
    assert verdict.outcome is Outcome.FAIL
    assert replay(store / "saved" / "again", classify(CurvedModel())).outcome is Outcome.FAIL


@pytest.mark.parametrize("damage", ["digest", "arrays", "missing", "empty"])
def test_a_store_that_is_damaged_or_missing_is_an_error(store: Path, damage: str) -> None:
    place = store / "saved" / "g"
    record, arrays = place / "repro.json", place / "examples.npz"
    if damage == "digest":
        record.write_text(record.read_text().replace('"broken_count": ', '"broken_count": 1'))
    elif damage == "arrays":
        arrays.write_bytes(arrays.read_bytes()[:-10])
    elif damage == "empty":
        record.unlink()
    else:
        place.rename(store / "elsewhere")
    verdict = _check(store, min_robust_accuracy=0.0, known_examples="saved/g")
    assert verdict.outcome is Outcome.ERROR
    assert "saved/g" in verdict.reason.replace("\\", "/")


def test_a_link_out_of_the_directory_is_an_error(store: Path) -> None:
    inner = store / "inner"
    inner.mkdir()
    (inner / "g").symlink_to(store / "saved" / "g", target_is_directory=True)
    verdict = _check(inner, min_robust_accuracy=0.0, known_examples="g")
    assert verdict.outcome is Outcome.ERROR
    assert "inside" in verdict.reason


@pytest.mark.parametrize("path", ["", "/saved/g", "../saved/g", "a/../../g", "C:\\saved"])
def test_a_path_that_leads_out_is_refused_when_the_gate_is_read(path: str) -> None:
    with pytest.raises(InvalidGateFile, match="inside the directory"):
        RobustnessGate(norm="linf", epsilon=0.1, min_robust_accuracy=0, known_examples=path)


def test_known_examples_alone_make_no_gate() -> None:
    with pytest.raises(InvalidGateFile, match="beside known-examples"):
        RobustnessGate(
            norm="linf", epsilon=0.1, min_robust_accuracy=0.5, attacks=("known-examples",)
        )
