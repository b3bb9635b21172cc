"""Where `fgmf compare` reads measured gates from: reports, baselines, directories of those.

They may come from another machine, so a gate that cannot be used becomes a problem with a name,
and never vanishes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fgmf.baselines.comparing import Comparison, compare_measured
from fgmf.baselines.contents import has_outcomes, measured_gate
from fgmf.baselines.files import BASELINE_SCHEMA, SUFFIX, load_baseline, read_json
from fgmf.errors import FgmfError, InvalidBaseline, InvalidInput
from fgmf.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fgmf.baselines.contents import MeasuredGate
    from fgmf.baselines.limits import Limit

REPORT_SCHEMA = "fgmf-report/1"
"""The report that this module reads; `fgmf.reporting`, which writes it, lies above this room."""


@dataclass(kw_only=True)
class Source:
    """The gates of one side.

    Attributes:
        measured: Gates that can be compared, by name.
        problems: Gates that cannot, with the reason.
        silent: Gates of kinds that do not say how each image ended.
    """

    measured: dict[str, MeasuredGate] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)

    @property
    def names(self) -> set[str]:
        """All gates."""
        return {*self.measured, *self.problems, *self.silent}


def read_source(path: Path) -> Source:
    """Read a report, a baseline, or all baselines of a directory.

    Raises:
        InvalidInput: There is nothing of that kind.
        InvalidBaseline: The file is damaged, or of another format.
        OSError: It cannot be read.
    """
    if path.is_dir():
        return _directory(path)
    if not path.is_file():
        message = "expected a JSON report, a baseline, or a directory of baselines"
        raise InvalidInput(f"{message}, got {path}, which is not there")
    document = read_json(path)
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema == BASELINE_SCHEMA:
        baseline = load_baseline(path, renamed=True)
        return Source(measured={baseline.gate: baseline})
    if not isinstance(document, dict) or schema != REPORT_SCHEMA:
        problem = f"schema: expected {REPORT_SCHEMA!r} or {BASELINE_SCHEMA!r}, got {schema!r:.60}"
        raise InvalidBaseline(str(path), [problem])
    return _report(path, document)


def compare_sources(before: Source, now: Source, limits: Sequence[Limit]) -> list[Comparison]:
    """Compare gates of one name; what only one side has is told, and an error with limits."""
    owed = bool(limits)
    comparisons = []
    for gate in sorted(before.names | now.names):
        earlier, later = before.measured.get(gate), now.measured.get(gate)
        problems = [side.problems[gate] for side in (before, now) if gate in side.problems]
        if earlier is not None and later is not None:
            comparisons.append(compare_measured(earlier, later, limits))
        elif problems:
            reason = "; ".join(problems)
            entry = Comparison(gate=gate, status="not measured", reason=reason, owed=owed)
            comparisons.append(entry)
        elif gate not in {*before.measured, *now.measured}:
            reason = "its kind does not say how each image ended"
            comparisons.append(Comparison(gate=gate, status="no outcomes", reason=reason))
        else:
            reason = f"only the {'first' if earlier is not None else 'second'} has it"
            comparisons.append(Comparison(gate=gate, status="unmatched", reason=reason, owed=owed))
    return comparisons


def _directory(path: Path) -> Source:
    source = Source()
    for entry in sorted(path.glob(f"*{SUFFIX}")):
        try:
            baseline = load_baseline(entry)
        except (FgmfError, OSError) as error:
            source.problems[entry.name] = str(error)
        else:
            source.measured[baseline.gate] = baseline
    if not source.names:
        raise InvalidInput(f"expected baselines (*{SUFFIX}) in {path}, got none")
    return source


def _report(path: Path, document: dict[str, Any]) -> Source:
    entries = document.get("verdicts")
    if not isinstance(entries, list):
        raise InvalidBaseline(str(path), ["verdicts: expected a list"])
    source = Source()
    for at, entry in enumerate(entries):
        try:
            verdict = Verdict.from_document(entry)
            if not isinstance(verdict.gate, str):
                raise TypeError("its name is no text")
            _place(source, verdict)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            source.problems[f"verdicts[{at}]"] = f"expected a verdict, got another thing ({error})"
    return source


def _place(source: Source, verdict: Verdict) -> None:
    gate = verdict.gate
    if gate in source.names:
        source.measured.pop(gate, None)
        source.problems[gate] = "the report has several verdicts of this name"
    elif verdict.outcome is Outcome.ERROR:
        source.problems[gate] = f"not measured: {verdict.reason}"
    elif not has_outcomes(verdict):
        source.silent.add(gate)
    else:
        try:
            source.measured[gate] = measured_gate(verdict)
        except InvalidInput as error:
            source.problems[gate] = str(error)
