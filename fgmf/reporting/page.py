"""All verdicts as one HTML file for people who look rather than read.

Self-contained: no script, no style sheet, font or picture from elsewhere; pictures that gates
wrote are in it. Whatever a model, a gate file or a data set contributed is escaped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from fgmf.reporting.charts import IntervalBar, interval_bar
from fgmf.reporting.curves import HEIGHT, WIDTH, curve_charts
from fgmf.reporting.details import render_details
from fgmf.reporting.document import report_document
from fgmf.reporting.further_panels import export_facts, further_panels
from fgmf.reporting.galleries import Gallery, galleries_of
from fgmf.reporting.headline import describe_condition, render_headline
from fgmf.reporting.histories import HISTORY_HEIGHT, HISTORY_WIDTH, histories_of
from fgmf.reporting.panels import LogFacts, Panel, changes_of, log_facts, panels_of
from fgmf.reporting.rows import TableRow, counted, ordered, table_row
from fgmf.reporting.text import first_line, printable
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fgmf.types import Json
    from fgmf.verdict import Condition, Finding, Verdict

_MOST_EVIDENCE: Final = 20_000
_SEVERITIES: Final = ("error", "warning", "note")


@dataclass(frozen=True, kw_only=True)
class _Section:
    """One gate on the page.

    Attributes:
        anchor: Where links to it lead.
        outcome: Name of its style.
        row: Its cells in the table.
        headline: Its first line.
        reason: Why it ended so; empty where the headline says it.
        bar: Of the main condition.
        conditions: Each threshold in words, its outcome, and its bar.
        findings: Of the preflight, what weighs most first.
        details: What the terminal says below the headline.
        pictures: Name and address.
        panels: Evidence to look at.
        log: Head and streams of a mask log.
        facts: Of an exported file.
        galleries: Pictures of its evidence.
        evidence: JSON, cut where it is long.
    """

    anchor: str
    outcome: str
    row: TableRow
    headline: str
    reason: str
    bar: IntervalBar | None
    conditions: list[tuple[str, str, IntervalBar | None]]
    findings: list[Finding]
    details: str
    pictures: list[tuple[str, str]]
    panels: list[Panel]
    log: LogFacts | None
    facts: list[tuple[str, str]]
    galleries: list[Gallery]
    evidence: str


def render_page(
    verdicts: Sequence[Verdict], *, run: Mapping[str, Json], pictures: Mapping[str, str]
) -> str:
    """Write the page.

    Args:
        verdicts: In any order; what did not pass comes first.
        run: Facts about the run.
        pictures: A ``data:`` address by artifact path (`fgmf.reporting.pictures`).

    Returns:
        One HTML document.

    Raises:
        InvalidInput: The evidence of a gate holds something that is not JSON.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("fgmf.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    shown = ordered(verdicts)
    sections = [
        _section(verdict, f"gate-{at}", pictures, galleries)
        for at, (verdict, galleries) in enumerate(zip(shown, galleries_of(shown), strict=True))
    ]
    worst = next((section.outcome for section in sections), "error")
    return environment.get_template("report.html.j2").render(
        summary=counted(verdicts),
        worst=worst,
        facts=_facts(run),
        sections=sections,
        charts=curve_charts(verdicts),
        history=histories_of(run),
        changes=changes_of(run),
        width=WIDTH,
        height=HEIGHT,
        history_width=HISTORY_WIDTH,
        history_height=HISTORY_HEIGHT,
        version=_version(),
    )


def _section(
    verdict: Verdict, anchor: str, pictures: Mapping[str, str], galleries: list[Gallery]
) -> _Section:
    (entry,) = cast("list[Any]", report_document([verdict], run={})["verdicts"])
    main = verdict.conditions[0] if verdict.conditions else None
    return _Section(
        anchor=anchor,
        outcome=verdict.outcome.value,
        row=table_row(verdict),
        headline=render_headline(verdict),
        reason="" if verdict.outcome is Outcome.ERROR else first_line(verdict.reason),
        bar=None if main is None else interval_bar(main),
        conditions=[_condition(condition) for condition in verdict.conditions],
        findings=sorted(verdict.findings, key=lambda f: (f.waived, _SEVERITIES.index(f.severity))),
        details=render_details(verdict),
        pictures=[(printable(n), pictures[n]) for n in verdict.artifacts if n in pictures],
        panels=[*panels_of(verdict), *further_panels(verdict)],
        facts=export_facts(verdict),
        log=log_facts(verdict),
        galleries=galleries,
        evidence=_shortened(json.dumps(_without_pictures(entry["evidence"]), indent=1)),
    )


def _condition(condition: Condition) -> tuple[str, str, IntervalBar | None]:
    return describe_condition(condition), condition.outcome.value, interval_bar(condition)


def _without_pictures(evidence: Mapping[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in evidence.items() if key != "pictures"}


def _shortened(text: str) -> str:
    if len(text) <= _MOST_EVIDENCE:
        return text
    return text[:_MOST_EVIDENCE] + "\n… the rest is in the JSON report"


def _facts(run: Mapping[str, Json]) -> list[tuple[str, str]]:
    """What is plain among the facts of a run; comparisons have their own words elsewhere."""
    return [
        (printable(key.replace("_", " ")), printable(str(value)))
        for key, value in run.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool)
    ]


def _version() -> str:
    from fgmf import __version__

    return __version__
