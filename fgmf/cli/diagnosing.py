"""`fgmf diagnose`: does a model mask its gradients? A table of the evidence, and a picture.

Gates of kind gradient-masking are run as they stand in the file. Where there are none, each
robustness gate gets one: its norm, epsilon and suite.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fgmf.canonical import write_atomically
from fgmf.cli.checking import run_gates, selected_gates
from fgmf.cli.exits import ExitCode, WrongUse, say
from fgmf.cli.opening import open_gate_file
from fgmf.gates.gradient_masking import SUFFIX
from fgmf.reporting.evidence import integer_of, number_of, records_of, text_of, texts_of
from fgmf.reporting.text import shown_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from fgmf.cli.checking import CheckRequest
    from fgmf.gatefile import GateFile
    from fgmf.gates import GradientMaskingGate
    from fgmf.gates.specification import GateSpecification
    from fgmf.types import Json
    from fgmf.verdict import Verdict

_COLUMNS = ("", "symptom", "value", "limit", "images", "speaks for", "what it is")
_NUMBERS = frozenset({"value", "limit", "images"})
_WIDTH = 110


def run_diagnose(request: CheckRequest, *, pictures: Path | None) -> ExitCode:
    """Examine the models of a gate file.

    Args:
        request: The command line.
        pictures: Directory for a picture of each gate's evidence; None draws none.

    Returns:
        The worst of all verdicts.

    Raises:
        WrongUse: A gate that there is not, or a file without gates to derive one from.
        InvalidGateFile: The gate file is missing or broken.
        MissingDependency: A picture is asked for, and matplotlib is not installed.
    """
    gate_file = open_gate_file(request.path, profile=request.profile)
    names = tuple(name.removesuffix(SUFFIX) for name in request.gates)
    gates = _gates(selected_gates(gate_file, names))
    if not gates:
        message = "expected a gate of kind gradient-masking or robustness, got none"
        raise WrongUse(f"{message} in {gate_file.path}")
    verdicts: list[Verdict] = []
    code = run_gates(gate_file, gates, replace(request, on_verdict=verdicts.append))
    for verdict in verdicts:
        if text_of(verdict.evidence, "masking"):
            show_symptoms(verdict)
    if pictures is not None:
        _draw(gate_file, gates, request, pictures)
    return code


def _gates(chosen: Sequence[GateSpecification]) -> tuple[GradientMaskingGate, ...]:
    from fgmf.gates import GradientMaskingGate, RobustnessGate

    own = tuple(gate for gate in chosen if isinstance(gate, GradientMaskingGate))
    if own:
        return own
    return tuple(
        GradientMaskingGate.beside(gate) for gate in chosen if isinstance(gate, RobustnessGate)
    )


def show_symptoms(verdict: Verdict) -> None:
    """Show every symptom that was looked for as a table, those that stand first.

    Args:
        verdict: Of a gradient-masking gate.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{verdict.gate}: what was looked for", title_justify="left")
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name in _NUMBERS else "left")
    rows = records_of(verdict.evidence, "symptoms")
    for row in sorted(rows, key=lambda row: (not _mark(row), text_of(row, "name"))):
        style = {"": "", "!": "yellow", "!!": "bold red"}[_mark(row)]
        table.add_row(*(Text(cell) for cell in _row(row)), style=style)
    console = Console()
    console = Console(width=max(console.width, _WIDTH))
    console.print(table)


def _mark(row: Mapping[str, Json]) -> str:
    if row.get("stands") is not True:
        return ""
    return "!!" if row.get("alarming") is True else "!"


def _row(row: Mapping[str, Json]) -> tuple[str, ...]:
    value, limit = number_of(row, "value"), number_of(row, "limit")
    return (
        _mark(row),
        text_of(row, "name"),
        "-" if value is None else shown_number(value),
        "-" if limit is None else shown_number(limit),
        str(integer_of(row, "image_count") or "-"),
        ", ".join(texts_of(row, "mechanisms")),
        text_of(row, "note"),
    )


def _draw(
    gate_file: GateFile,
    gates: Sequence[GradientMaskingGate],
    request: CheckRequest,
    directory: Path,
) -> None:
    from fgmf.gates.gradient_masking_check import curves_of_gate
    from fgmf.gradient_masking.picture import draw_curves
    from fgmf.running import GateRun, RunSettings, importing_from

    settings = RunSettings(device=request.device, batch_size=request.batch_size, seed=request.seed)
    run = GateRun(gate_file, settings)
    directory.mkdir(parents=True, exist_ok=True)
    with importing_from(gate_file.path.parent):
        for gate in gates:
            classifier, samples = run.classifier(gate.model), run.samples()
            curves = curves_of_gate(gate, classifier, samples, run_seed=run.seed)
            threat = gate.threat_model(classifier.bounds)
            title = f"{gate.name or gate.kind}: {threat.describe()}"
            picture = draw_curves(curves, title=title, epsilon=threat.epsilon)
            path = directory / f"{(gate.name or gate.kind).replace('/', '_')}.png"
            write_atomically(path, picture)
            say(f"picture: {path}")
