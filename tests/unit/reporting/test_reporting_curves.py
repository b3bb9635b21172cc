"""Security curves: families share a chart, starts and radii are what verdicts say."""

from __future__ import annotations

import dataclasses
from typing import Any

from fgmf.reporting.curves import WIDTH, curve_charts
from fgmf.verdict import Outcome, Verdict
from tests.unit.reporting.test_reporting_page import gate, page_of


def attacked(name: str, epsilon: float, measured: float, *titles: str, **extra: Any) -> Verdict:
    verdict = gate(name, Outcome.PASS, epsilon, measured)
    rows = [{"name": title.lower(), "title": title, **extra} for title in titles]
    return dataclasses.replace(verdict, evidence={**verdict.evidence, "attacks": rows})


def test_each_family_of_attacks_is_a_line_of_one_chart() -> None:
    verdicts = [
        attacked("weak-1", 0.1, 0.8, "FGSM"),
        attacked("weak-2", 0.2, 0.7, "FGSM"),
        attacked("strong-1", 0.1, 0.5, "FGSM", "PGD"),
        attacked("strong-2", 0.2, 0.2, "FGSM", "PGD"),
    ]
    (chart,) = curve_charts(verdicts)
    names = [curve.name for curve in chart.curves]
    assert names == ["FGSM", "worst of FGSM, PGD"]
    weak, strong = chart.curves
    assert weak.style != strong.style
    assert all(a.x == b.x and a.y < b.y for a, b in zip(weak.points, strong.points, strict=True))
    text = page_of(*verdicts)
    assert text.count("Robust accuracy over epsilon") == 1
    assert "family-0" in text
    assert ">worst of FGSM, PGD</span>" in text


def test_a_line_starts_at_what_is_right_without_an_attack() -> None:
    clean = {"clean_accuracy": 0.9, "clean_interval": {"lower": 0.85, "upper": 0.95}}
    verdicts = [
        dataclasses.replace(v, evidence={**v.evidence, **clean})
        for v in (attacked("a", 0.1, 0.5, "PGD"), attacked("b", 0.2, 0.3, "PGD"))
    ]
    (chart,) = curve_charts(verdicts)
    start, first, second = chart.curves[0].points
    assert start.y < first.y < second.y
    assert start.bar is None
    assert "without an attack: 0.900 [0.850, 0.950]" in start.label
    assert [text for _, text in chart.x_ticks] == ["0", "0.1", "0.2"]


def test_an_attack_that_looks_for_the_nearest_example_gives_a_line_by_itself() -> None:
    points = [
        {"epsilon": 0.05 * at, "accuracy": 1 - 0.2 * at, "lower": 0.0, "upper": 1.0}
        for at in range(5)
    ]
    verdict = attacked("nearest", 0.1, 0.6, "Minimum norm", curve=points)
    (chart,) = curve_charts([verdict])
    (by_radius,) = [curve for curve in chart.curves if not curve.dotted]
    assert by_radius.name == "Minimum norm by radius, nearest"
    assert len(by_radius.points) == 5
    assert max(point.x for point in by_radius.points) <= WIDTH
    broken = [{**points[0], "accuracy": 2.0}, {"epsilon": 1}]
    assert curve_charts([attacked("x", 0.1, 0.6, "Minimum norm", curve=broken)]) == []
