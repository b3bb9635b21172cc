"""Holding measured gates against their baselines: what changed, and what could not be compared.

for each verdict:      compared | no baseline | stale | damaged | not measured | no outcomes
for each baseline that no verdict is of:                            unmatched
with limits, all of these but `compared` and `no outcomes` are ERROR: never a pass
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fgmf.baselines.contents import has_outcomes, measured_gate
from fgmf.baselines.files import SUFFIX, baseline_path, load_baseline
from fgmf.baselines.limits import judge_change
from fgmf.baselines.pairing import pair_outcomes
from fgmf.errors import FgmfError, StaleEvidence
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from fgmf.baselines.contents import MeasuredGate
    from fgmf.baselines.limits import Limit, LimitResult
    from fgmf.baselines.pairing import PairedChange
    from fgmf.verdict import Verdict

Status = Literal[
    "compared", "no baseline", "stale", "damaged", "not measured", "no outcomes", "unmatched"
]
_ORDER = (Outcome.ERROR, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS)
_SHOWN_KEYS = 6


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One gate and its baseline.

    Attributes:
        gate: Name of the gate, or of a file that is no baseline.
        status: Whether they could be compared, or why not.
        reason: One sentence on that; empty where they were compared.
        change: What changed, where that is known.
        limits: How it stands to each limit.
        remarks: What a reader should know besides: other seeds, versions, images left out.
        owed: With limits, whether it is an error that this was not compared.
    """

    gate: str
    status: Status
    reason: str = ""
    change: PairedChange | None = None
    limits: tuple[LimitResult, ...] = ()
    remarks: tuple[str, ...] = ()
    owed: bool = False

    @property
    def outcome(self) -> Outcome | None:
        """The worst of the limits; ERROR if it was owed and not compared; None if not judged."""
        if self.owed:
            return Outcome.ERROR
        outcomes = {result.outcome for result in self.limits}
        return next((outcome for outcome in _ORDER if outcome in outcomes), None)


@dataclass(frozen=True, kw_only=True)
class ExpectedGates:
    """Which baselines of a directory need no verdict in this run.

    Attributes:
        left_out: Names of gates that the profile leaves out.
        partial: The user picked some gates by hand; the others are not expected.
    """

    left_out: Collection[str] = field(default_factory=tuple)
    partial: bool = False


def compare_with_baselines(
    verdicts: Sequence[Verdict],
    directory: Path,
    *,
    limits: Sequence[Limit] = (),
    expected: ExpectedGates | None = None,
) -> list[Comparison]:
    """Compare every gate of a run with its baseline.

    Args:
        verdicts: All that count in the run.
        directory: Of the baselines; need not exist.
        limits: What may be lost; none means that nothing is judged.
        expected: Which baselines may be without a verdict.

    Returns:
        One comparison per verdict in their order, then one per baseline without a verdict.
    """
    comparisons = [_compare(verdict, directory, limits) for verdict in verdicts]
    seen = {baseline_path(directory, verdict.gate).name for verdict in verdicts}
    expected = expected or ExpectedGates()
    rest = [path for path in sorted(directory.glob(f"*{SUFFIX}")) if path.name not in seen]
    return comparisons + [_unmatched(path, expected, owed=bool(limits)) for path in rest]


def compare_measured(
    before: MeasuredGate, now: MeasuredGate, limits: Sequence[Limit] = ()
) -> Comparison:
    """Compare two measurements of a gate on the images that both have.

    Where they are not of one configuration and one set of images, this is told, and an error
    if there are limits.
    """
    try:
        change = pair_outcomes(before.images, now.images)
    except FgmfError as error:
        return Comparison(gate=now.gate, status="stale", reason=str(error), owed=bool(limits))
    stale = staleness(before, now)
    if stale and limits:
        reason = "; ".join(stale)
        return Comparison(gate=now.gate, status="stale", reason=reason, change=change, owed=True)
    return Comparison(
        gate=now.gate,
        status="compared",
        change=change,
        limits=tuple(judge_change(change, limit) for limit in limits),
        remarks=(*stale, *_remarks(before, now)),
    )


def staleness(before: MeasuredGate, now: MeasuredGate) -> list[str]:
    """Say why a baseline is not one of this measurement; nothing where it is."""
    found = []
    if before.configuration_digest != now.configuration_digest:
        found.append(f"other configuration: {_differing(before.configuration, now.configuration)}")
    if before.data_digest != now.data_digest:
        earlier, later = Counter(before.images.ids), Counter(now.images.ids)
        common = (earlier & later).total()
        message = f"other images or labels: {common} in common, of {earlier.total()} before"
        found.append(f"{message} and {later.total()} now")
    return found


def worst_outcome(comparisons: Sequence[Comparison]) -> Outcome | None:
    """Return the worst outcome; None if nothing was judged."""
    outcomes = {comparison.outcome for comparison in comparisons}
    return next((outcome for outcome in _ORDER if outcome in outcomes), None)


def _compare(verdict: Verdict, directory: Path, limits: Sequence[Limit]) -> Comparison:
    gate, owed = verdict.gate, bool(limits)
    path = baseline_path(directory, gate)
    known = path.is_symlink() or path.exists()
    if verdict.outcome is Outcome.ERROR:
        return Comparison(gate=gate, status="not measured", reason=verdict.reason, owed=owed)
    if not known:
        return _without_baseline(verdict, path, owed=owed)
    try:
        before, now = load_baseline(path), measured_gate(verdict)
    except StaleEvidence as error:
        return Comparison(gate=gate, status="damaged", reason=str(error), owed=owed)
    except (FgmfError, OSError) as error:
        return Comparison(gate=gate, status="not measured", reason=str(error), owed=owed)
    stale = staleness(before, now)
    if stale:
        reason = f"{'; '.join(stale)}; update the baseline {path}"
        return Comparison(gate=gate, status="stale", reason=reason, owed=owed)
    return compare_measured(before, now, limits)


def _without_baseline(verdict: Verdict, path: Path, *, owed: bool) -> Comparison:
    gate = verdict.gate
    if not has_outcomes(verdict):
        reason = f"kind {verdict.kind} does not say how each image ended"
        return Comparison(gate=gate, status="no outcomes", reason=reason)
    reason = f"expected a baseline at {path}, got none; update baselines to make it"
    return Comparison(gate=gate, status="no baseline", reason=reason, owed=owed)


def _unmatched(path: Path, expected: ExpectedGates, *, owed: bool) -> Comparison:
    try:
        gate = load_baseline(path).gate
    except (FgmfError, OSError) as error:
        return Comparison(gate=path.name, status="damaged", reason=str(error), owed=owed)
    if gate in expected.left_out:
        reason, owed = "the profile leaves this gate out", False
    elif expected.partial:
        reason, owed = "not among the gates that were picked", False
    else:
        reason = f"no gate of this name was measured in this run; if it is gone, delete {path}"
    return Comparison(gate=gate, status="unmatched", reason=reason, owed=owed)


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    keys = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
    parts = [f"{k} {_short(before.get(k))} before, {_short(now.get(k))} now" for k in keys]
    more = f", and {len(parts) - _SHOWN_KEYS} more" if len(parts) > _SHOWN_KEYS else ""
    return ", ".join(parts[:_SHOWN_KEYS]) + more


def _short(value: object) -> str:
    if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
        value = [entry.get("name", entry) for entry in value]
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _remarks(before: MeasuredGate, now: MeasuredGate) -> list[str]:
    remarks = []
    if before.seed != now.seed:
        remarks.append(f"other seed: {before.seed} before, {now.seed} now")
    names = sorted({*before.versions, *now.versions})
    changed = [
        f"{name} {before.versions.get(name, 'nothing')} -> {now.versions.get(name, 'nothing')}"
        for name in names
        if before.versions.get(name) != now.versions.get(name)
    ]
    if changed:
        remarks.append(f"other versions: {', '.join(changed)}")
    if before.model_digest == now.model_digest and now.model_digest:
        remarks.append("the same model")
    return remarks
