"""The page on faithfulness lists every metric and replacement as the catalogues have them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fgmf.faithfulness.entries import MetricEntry

PAGE = Path(__file__).parents[2] / "docs" / "faithfulness.md"


def _shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool | str) else f"{default:g}"


def _row(entry: MetricEntry) -> str:
    parameters = ", ".join(
        f"`{name}` ({_shown(parameter.default)})" for name, parameter in entry.parameters.items()
    )
    cells = (
        f"`{entry.name}`",
        "more" if entry.higher_is_better else "less",
        f"`{entry.quantus_class}`" if entry.quantus_class else "ours",
        "own" if entry.fast else "Quantus",
        entry.replacement or "-",
        parameters or "-",
        entry.mended or "-",
    )
    return f"| {' | '.join(cells)} |"


def test_every_metric_is_described_with_its_parameters() -> None:
    from fgmf.faithfulness.catalogue import METRICS

    lines = set(PAGE.read_text().splitlines())
    missing = [row for entry in METRICS.values() if (row := _row(entry)) not in lines]
    assert "\n".join(missing) == ""


def test_every_replacement_is_described() -> None:
    from fgmf.faithfulness.replacements import REPLACEMENTS

    lines = set(PAGE.read_text().splitlines())
    rows = [
        f"| `{entry.name}` | {entry.meaning} | {'yes' if entry.draws else 'no'} |"
        for entry in REPLACEMENTS.values()
    ]
    assert "\n".join(row for row in rows if row not in lines) == ""


def test_every_reference_is_described() -> None:
    from fgmf.gates.faithfulness import DEFAULT_REFERENCES

    text = PAGE.read_text()
    assert [name for name in DEFAULT_REFERENCES if f"| `{name}` |" not in text] == []
