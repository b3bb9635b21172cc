"""A run and its baselines: everything that cannot be compared is said, and with limits an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fgmf.baselines import (
    Comparison,
    ExpectedGates,
    Limit,
    baseline_path,
    compare_with_baselines,
    encode_baseline,
    parse_limit,
    worst_outcome,
)
from fgmf.reporting.comparison import comparison_document, render_comparisons
from fgmf.verdict import Outcome
from tests.unit.baselines.conftest import CONFIGURATION

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.baselines.conftest import MakeMeasured, MakeVerdict

LIMITS = (parse_limit("robust_accuracy:2pp"),)
BEFORE = "rrrrrrbbww"


@pytest.fixture
def directory(tmp_path: Path, measured_of: MakeMeasured) -> Path:
    """Baselines with that of the gate `robust`."""
    baseline_path(tmp_path, "robust").write_bytes(encode_baseline(measured_of(BEFORE)))
    return tmp_path


def _one(verdict: Any, directory: Path, limits: tuple[Limit, ...] = LIMITS) -> Comparison:
    (comparison,) = compare_with_baselines([verdict], directory, limits=limits)
    return comparison


@pytest.mark.parametrize(
    ("now", "outcome"),
    [
        (BEFORE, Outcome.PASS),
        ("rrrrrrrrww", Outcome.PASS),
        ("rrrrbbrrww", Outcome.PASS),  # two lost, two won
        ("rrrrrwbbww", Outcome.FAIL),
        ("bbbbbbbbww", Outcome.FAIL),
        ("rrrrruubbw", Outcome.INCONCLUSIVE),
        ("bbbbrrufbw", Outcome.FAIL),  # whatever the unsure ones are
    ],
)
def test_limits_judge_what_changed(
    now: str, outcome: Outcome, directory: Path, verdict_of: MakeVerdict
) -> None:
    comparison = _one(verdict_of(now), directory)
    assert (comparison.status, comparison.outcome) == ("compared", outcome)


def test_without_limits_nothing_is_judged(directory: Path, verdict_of: MakeVerdict) -> None:
    comparison = _one(verdict_of("bbbbbbbbww"), directory, ())
    assert (comparison.status, comparison.outcome) == ("compared", None)


def _other(key: str, value: Any) -> dict[str, Any]:
    return {"evidence": {"configuration": {**CONFIGURATION, key: value}}}


STALE: dict[str, dict[str, Any]] = {
    "epsilon": _other("epsilon", 0.2),
    "norm": _other("norm", "l2"),
    "bounds": _other("bounds", [-1.0, 1.0]),
    "attacks": _other("attacks", []),
    "restarts": _other("attacks", [{**CONFIGURATION["attacks"][0], "restarts": 2}]),
    "population": _other("population", "dataset"),
    "a later field": _other("severity", 3),
    "other images": {"first": 1},
    "no images in common": {"first": 100},
}


@pytest.mark.parametrize("change", STALE)
def test_a_stale_baseline_never_passes(
    change: str, directory: Path, verdict_of: MakeVerdict
) -> None:
    verdict = verdict_of(BEFORE, **STALE[change])
    assert _one(verdict, directory).outcome is Outcome.ERROR
    quiet = _one(verdict, directory, ())
    assert (quiet.status, quiet.outcome) == ("stale", None)
    assert "update the baseline" in render_comparisons([quiet])


def test_more_images_are_other_images(directory: Path, verdict_of: MakeVerdict) -> None:
    comparison = _one(verdict_of(BEFORE + "r"), directory)
    assert (comparison.status, comparison.outcome) == ("stale", Outcome.ERROR)
    assert "10 in common, of 10 before and 11 now" in comparison.reason


def test_other_labels_are_other_images(directory: Path, verdict_of: MakeVerdict) -> None:
    images = {**verdict_of(BEFORE).evidence["images"], "labels": [9] * 10}  # type: ignore[dict-item]
    verdict = verdict_of(BEFORE, evidence={"images": images})
    assert _one(verdict, directory).outcome is Outcome.ERROR


def test_what_differs_is_named(directory: Path, verdict_of: MakeVerdict) -> None:
    comparison = _one(verdict_of(BEFORE, **_other("epsilon", 0.2)), directory)
    assert "epsilon 0.1 before, 0.2 now" in comparison.reason


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        ({"gate": "new"}, "no baseline"),
        ({"outcome": Outcome.ERROR}, "not measured"),
        ({"evidence": {"configuration": None}}, "not measured"),
        ({"evidence": {"images": {"outcomes": "r"}}}, "not measured"),
        ({"measured": 0.9}, "not measured"),
    ],
)
def test_what_cannot_be_compared_never_passes(
    verdict: dict[str, Any], status: str, directory: Path, verdict_of: MakeVerdict
) -> None:
    comparisons = compare_with_baselines([verdict_of(**verdict)], directory, limits=LIMITS)
    assert (comparisons[0].status, comparisons[0].outcome) == (status, Outcome.ERROR)
    assert worst_outcome(comparisons) is Outcome.ERROR
    quiet = compare_with_baselines([verdict_of(**verdict)], directory)
    assert worst_outcome(quiet) is None
    assert f"not compared: {quiet[0].gate}: {status}: " in render_comparisons(quiet)


@pytest.mark.parametrize("how", ["damaged", "link", "directory"])
def test_a_damaged_baseline_never_passes(
    how: str, directory: Path, verdict_of: MakeVerdict
) -> None:
    path = baseline_path(directory, "robust")
    if how == "damaged":
        path.write_bytes(path.read_bytes()[:-9])
    elif how == "link":
        path.rename(directory / "real")
        path.symlink_to(directory / "real")
    else:
        path.unlink()
        path.mkdir()
    comparison = _one(verdict_of(BEFORE), directory)
    assert comparison.status in {"damaged", "not measured"}
    assert comparison.outcome is Outcome.ERROR


def test_a_dangling_link_is_no_missing_baseline(tmp_path: Path, verdict_of: MakeVerdict) -> None:
    baseline_path(tmp_path, "robust").symlink_to("nowhere")
    verdict = verdict_of(BEFORE)
    silent = verdict_of(BEFORE)
    assert _one(verdict, tmp_path).status == "damaged"
    assert _one(silent, tmp_path).outcome is Outcome.ERROR


def test_a_kind_without_images_owes_nothing_but_is_named(
    tmp_path: Path, verdict_of: MakeVerdict
) -> None:
    verdict = verdict_of(BEFORE, kind="selftest", gate="checks")
    evidence = {k: v for k, v in verdict.evidence.items() if k != "images"}
    silent = type(verdict)(**{**vars(verdict), "evidence": evidence})
    comparison = _one(silent, tmp_path)
    assert (comparison.status, comparison.outcome) == ("no outcomes", None)
    assert "checks" in render_comparisons([comparison])


def test_images_that_vanished_from_a_gate_with_a_baseline_never_pass(
    directory: Path, verdict_of: MakeVerdict
) -> None:
    verdict = verdict_of(BEFORE)
    evidence = {k: v for k, v in verdict.evidence.items() if k != "images"}
    silent = type(verdict)(**{**vars(verdict), "evidence": evidence})
    assert _one(silent, directory).outcome is Outcome.ERROR


@pytest.mark.parametrize(
    ("expected", "owed"),
    [
        (None, True),
        (ExpectedGates(left_out=["robust"]), False),
        (ExpectedGates(left_out=["other"]), True),
        (ExpectedGates(partial=True), False),
    ],
)
def test_a_baseline_without_a_gate_is_named(
    expected: ExpectedGates | None, owed: bool, directory: Path
) -> None:
    (comparison,) = compare_with_baselines([], directory, limits=LIMITS, expected=expected)
    assert (comparison.gate, comparison.status) == ("robust", "unmatched")
    assert comparison.outcome is (Outcome.ERROR if owed else None)
    assert "robust" in render_comparisons([comparison])


def test_a_foreign_file_among_baselines_is_damaged(directory: Path) -> None:
    (directory / "notes.json").write_text("{}")
    names = {c.gate: c.outcome for c in compare_with_baselines([], directory, limits=LIMITS)}
    assert names == {"notes.json": Outcome.ERROR, "robust": Outcome.ERROR}


def test_words_for_a_loss(directory: Path, verdict_of: MakeVerdict) -> None:
    comparison = _one(verdict_of("rrrrrwbbww", seed=3), directory)
    text = render_comparisons([comparison])
    assert text.splitlines()[0].startswith("against its baseline  before  now  ")
    assert "0.600" in text
    assert "-0.100 [" in text
    assert "more than robust_accuracy:2pp, but inside noise" in text
    assert "other seed" in text
    document: Any = comparison_document(comparison)
    assert document["worst"]["newly_broken"] == 1
    assert document["worst"]["p_value_of_a_loss"] == 0.5
    assert document["limits"][0]["within_noise"] is True


def test_names_cannot_reach_the_terminal(directory: Path, verdict_of: MakeVerdict) -> None:
    comparisons = compare_with_baselines([verdict_of(gate="\x1b[2J")], directory)
    assert "\x1b" not in render_comparisons(comparisons)
