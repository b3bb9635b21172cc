"""Reports, baselines and directories as the two sides of a comparison."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fgmf.baselines import (
    compare_sources,
    parse_limit,
    read_source,
    update_baselines,
    worst_outcome,
)
from fgmf.baselines.sources import REPORT_SCHEMA as READ_SCHEMA
from fgmf.errors import InvalidBaseline, InvalidInput
from fgmf.reporting import REPORT_SCHEMA, encode_report, report_document
from fgmf.verdict import Outcome
from tests.unit.baselines.conftest import CONFIGURATION

if TYPE_CHECKING:
    from pathlib import Path

    from fgmf.verdict import Verdict
    from tests.unit.baselines.conftest import MakeVerdict

LIMITS = (parse_limit("robust_accuracy:2pp"),)


def _report(path: Path, *verdicts: Verdict) -> Path:
    path.write_bytes(encode_report(report_document(verdicts, run={})))
    return path


def test_the_report_is_the_one_that_is_written() -> None:
    assert READ_SCHEMA == REPORT_SCHEMA


def test_all_forms_say_the_same(tmp_path: Path, verdict_of: MakeVerdict) -> None:
    verdict = verdict_of("rrbw")
    report = _report(tmp_path / "report.json", verdict)
    (update,) = update_baselines([verdict], [], tmp_path / "baselines")
    assert update.path is not None
    sides = [read_source(path) for path in (report, update.path, update.path.parent)]
    assert sides[0].measured == sides[1].measured == sides[2].measured
    assert set(sides[0].measured) == {"robust"}


@pytest.mark.parametrize("contents", [b"{", b"[]", b"{}", b'{"schema": "fgmf-report/9"}', b"3"])
def test_another_file_is_refused(contents: bytes, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(contents)
    with pytest.raises(InvalidBaseline):
        read_source(path)


@pytest.mark.parametrize("verdicts", [None, {}, "x"])
def test_a_report_without_verdicts_is_refused(verdicts: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"schema": REPORT_SCHEMA, "verdicts": verdicts}))
    with pytest.raises(InvalidBaseline, match="verdicts: expected a list"):
        read_source(path)


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_nothing_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="got"):
        read_source(tmp_path / name)


@pytest.mark.parametrize(
    "change",
    [
        {"gate": 3},
        {"gate": ["robust"]},
        {"outcome": "great"},
        {"cost": None},
        {"evidence": None},
        {"evidence": {"images": {}}},
        {"interval": 3},
        {"measured": "0.5"},
        {"seed": -1},
        {"more": 1},
    ],
)
def test_a_broken_verdict_in_a_report_never_vanishes(
    change: dict[str, Any], tmp_path: Path, verdict_of: MakeVerdict
) -> None:
    whole = _report(tmp_path / "whole.json", verdict_of("rr"))
    document = json.loads(whole.read_text())
    document["verdicts"][0] |= change
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(document))
    side = read_source(broken)
    assert side.problems
    assert not side.measured
    comparisons = compare_sources(read_source(whole), side, LIMITS)
    assert worst_outcome(comparisons) is Outcome.ERROR


def test_what_is_no_verdict_is_named(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"schema": REPORT_SCHEMA, "verdicts": [3, None, "x", []]}))
    assert len(read_source(path).problems) == 4


@pytest.mark.parametrize("count", [2, 3])
def test_a_name_that_occurs_twice_cannot_be_compared(
    count: int, tmp_path: Path, verdict_of: MakeVerdict
) -> None:
    path = _report(tmp_path / "report.json", *[verdict_of("rr")] * count)
    side = read_source(path)
    assert (set(side.measured), set(side.problems)) == (set(), {"robust"})


def test_gates_of_one_side_are_named(tmp_path: Path, verdict_of: MakeVerdict) -> None:
    before = read_source(_report(tmp_path / "a.json", verdict_of("rr"), verdict_of("rr", gate="x")))
    now = read_source(_report(tmp_path / "b.json", verdict_of("rb"), verdict_of("rr", gate="y")))
    quiet = compare_sources(before, now, ())
    assert [(c.gate, c.status) for c in quiet] == [
        ("robust", "compared"),
        ("x", "unmatched"),
        ("y", "unmatched"),
    ]
    assert worst_outcome(quiet) is None
    strict = {c.gate: c.outcome for c in compare_sources(before, now, LIMITS)}
    assert strict == {"robust": Outcome.FAIL, "x": Outcome.ERROR, "y": Outcome.ERROR}


@pytest.mark.parametrize(
    "other",
    [
        {"outcomes": "rrr"},
        {"first": 1},
        {"evidence": {"configuration": {**CONFIGURATION, "epsilon": 0.2}}},
    ],
)
def test_other_measurements_are_compared_where_they_can_be_and_never_pass(
    other: dict[str, Any], tmp_path: Path, verdict_of: MakeVerdict
) -> None:
    before = read_source(_report(tmp_path / "a.json", verdict_of("rr")))
    now = read_source(_report(tmp_path / "b.json", verdict_of(**{"outcomes": "rr", **other})))
    (quiet,) = compare_sources(before, now, ())
    assert quiet.status == "compared"
    assert "other" in quiet.remarks[0]
    (strict,) = compare_sources(before, now, LIMITS)
    assert strict.outcome is Outcome.ERROR
