"""The page for people who look: self-contained, escaped, and true to the verdicts."""

from __future__ import annotations

import base64
import dataclasses
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from fgmf.errors import InvalidInput
from fgmf.reporting.charts import interval_bar
from fgmf.reporting.curves import HEIGHT, curve_charts
from fgmf.reporting.markdown import MOST_BYTES, render_markdown
from fgmf.reporting.page import render_page
from fgmf.reporting.pictures import pictures_of
from fgmf.reporting.targets import report_target, write_report
from fgmf.verdict import Condition, Finding, Interval, Outcome, Verdict

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "<script>alert('x')</script>\x1b[31m|**"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
RUN = {"seed": 7, "profile": "default", "gate_file": "fgmf.toml"}


def gate(name: str, outcome: Outcome, epsilon: float = 0.1, measured: float = 0.4) -> Verdict:
    interval = Interval(
        lower=measured - 0.1, upper=measured + 0.1, confidence=0.95, method="Clopper-Pearson"
    )
    condition = Condition(
        quantity="robust_accuracy",
        measured=measured,
        interval=interval,
        threshold=0.5,
        outcome=outcome,
    )
    return Verdict(
        gate=name,
        kind="robustness",
        outcome=outcome,
        reason="robust_accuracy is below its threshold",
        measured=measured,
        interval=interval,
        threshold=0.5,
        image_count=100,
        seed=3,
        conditions=(condition,),
        evidence={
            "norm": "linf",
            "epsilon": epsilon,
            "criterion": "misclassification",
            "dataset_size": 500,
            "attacks": [{"name": "pgd", "title": "PGD", "attacked": 90, "broken": 50}],
        },
    )


def page_of(*verdicts: Verdict, pictures: dict[str, str] | None = None) -> str:
    return render_page(verdicts, run=RUN, pictures=pictures or {})


class Elements(HTMLParser):
    """Names of elements, their addresses, and whether every element is closed."""

    _VOID = frozenset({"meta", "img", "br", "rect", "line", "circle", "polygon", "polyline"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.addresses += [v or "" for key, v in attrs if key in {"src", "href", "action"}]
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_from_elsewhere_and_is_well_formed() -> None:
    elements = Elements(page_of(gate("a", Outcome.FAIL), gate("b", Outcome.PASS, measured=0.7)))
    assert elements.open == []
    assert not {"script", "link", "iframe", "object"} & set(elements.names)
    assert all(address.startswith("#gate-") for address in elements.addresses)


def test_what_others_contributed_is_escaped() -> None:
    finding = Finding(name="x", severity="error", message=HOSTILE, fix=HOSTILE)
    verdict = dataclasses.replace(
        gate(HOSTILE, Outcome.FAIL),
        kind=HOSTILE,
        reason=HOSTILE,
        findings=(finding,),
        evidence={HOSTILE: HOSTILE},
        reproduce=HOSTILE,
    )
    text = page_of(verdict)
    assert "script" not in Elements(text).names
    assert "\x1b" not in text
    summary = render_markdown([verdict], run=RUN)
    assert "<script" not in summary
    assert "\x1b" not in summary


def test_what_did_not_pass_comes_first() -> None:
    entries = [gate("fine", Outcome.PASS), gate("lost", Outcome.ERROR), gate("bad", Outcome.FAIL)]
    shown = re.findall(r'href="#gate-\d">(\w+)<', page_of(*entries))
    assert shown == ["lost", "bad", "fine"]
    assert "1 not measured, 1 failed, 1 passed" in page_of(*entries)
    assert "**1 not measured, 1 failed, 1 passed**" in render_markdown(entries, run=RUN)


def test_no_gates_are_no_green_page() -> None:
    text = page_of()
    assert '<h1 class="error">no gates</h1>' in text


def test_pictures_are_in_the_page() -> None:
    verdict = dataclasses.replace(gate("a", Outcome.FAIL), artifacts=("x/broken.png", "x/a.npz"))
    address = "data:image/png;base64,AAAA"
    elements = Elements(page_of(verdict, pictures={"x/broken.png": address}))
    assert address in elements.addresses


def test_only_pictures_below_the_root_are_read(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (root / "in" / "good.png").write_bytes(PIXEL)
    (root / "in" / "text.png").write_text("no picture")
    (tmp_path / "outside.png").write_bytes(PIXEL)
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    names = ("in/good.png", "in/text.png", "in/gone.png", "../outside.png", "link.png")
    verdict = dataclasses.replace(gate("a", Outcome.FAIL), artifacts=names)
    assert set(pictures_of([verdict], root=root)) == {"in/good.png"}


def test_a_curve_goes_through_gates_that_differ_in_epsilon_alone() -> None:
    family = [
        gate("c", Outcome.FAIL, epsilon=0.3, measured=0.2),
        gate("a", Outcome.PASS, epsilon=0.1, measured=0.8),
    ]
    other = dataclasses.replace(
        gate("l2", Outcome.FAIL), evidence={**family[0].evidence, "norm": "l2"}
    )
    (chart,) = curve_charts([*family, other])
    (curve,) = chart.curves
    low, high = curve.points
    assert low.x < high.x
    assert low.y < high.y  # downwards: less robust
    assert low.high < low.y < low.low < HEIGHT
    assert "Robust accuracy over epsilon" in page_of(*family)
    assert curve_charts([family[0], other]) == []


def test_a_bar_holds_values_that_are_no_shares() -> None:
    interval = Interval(lower=-1.0, upper=2.0, confidence=0.95, method="bootstrap")
    condition = Condition(
        quantity="margin", measured=0.5, interval=interval, threshold=3.0, outcome=Outcome.FAIL
    )
    bar = interval_bar(condition)
    assert bar is not None
    assert (bar.lower, bar.upper, bar.point, bar.threshold) == (0.0, 75.0, 37.5, 100.0)
    assert bar.ends == ("-1", "3")
    assert interval_bar(dataclasses.replace(condition, interval=None)) is None


def test_a_summary_stays_below_what_is_dropped_whole() -> None:
    long = dataclasses.replace(gate("x", Outcome.FAIL), reproduce="é" * 100_000)
    entries = [dataclasses.replace(long, gate=f"gate-{at}") for at in range(30)]
    text = render_markdown(entries, run=RUN)
    assert len(text.encode()) <= MOST_BYTES
    assert text.count("| ❌ FAIL |") == 30
    left_out = 30 - text.count("<details")
    assert 0 < left_out < 30
    assert f"Details of {left_out} gates are left out" in text


@pytest.mark.parametrize("text", ["xml:a", "json", "html:", "html:.", ":a", "PATH"])
def test_a_form_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="json:PATH, markdown:PATH, html:PATH"):
        report_target(text)


@pytest.mark.parametrize(
    ("form", "start"), [("json", "{"), ("markdown", "## FGMF gates"), ("html", "<!doctype html>")]
)
def test_every_form_is_written(tmp_path: Path, form: str, start: str) -> None:
    target = report_target(f"{form}:out/report", base=tmp_path)
    write_report(target, [gate("a", Outcome.FAIL)], run=RUN, root=tmp_path)
    assert (tmp_path / "out" / "report").read_text().startswith(start)
