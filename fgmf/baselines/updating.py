"""Writing baselines, and seeing to it that they can be committed.

written: verdicts PASS or FAIL whose every image is decided, one per name, within the limits
not written: anything else, with the reason; an older baseline then stays as it is
"""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fgmf.baselines.contents import has_outcomes, measured_gate
from fgmf.baselines.files import baseline_path, encode_baseline
from fgmf.canonical import write_atomically
from fgmf.errors import FgmfError, InvalidInput
from fgmf.failures.layout import HOME, HOME_IGNORE, IGNORE, OLD_HOME_IGNORES
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fgmf.baselines.comparing import Comparison
    from fgmf.verdict import Verdict

_GIT_ADVICE = (
    "in .gitignore write `.fgmf/*` and `!.fgmf/baselines/` in place of `.fgmf/`, "
    "or commit them with `git add --force`"
)
_DECIDED = frozenset({Outcome.PASS, Outcome.FAIL})
_GIT_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Update:
    """What became of one gate's baseline.

    Attributes:
        gate: Name of the gate.
        path: The file, where it is now up to date.
        reason: Why it is not; empty where it is.
        owed: Whether that is a failure; False for kinds that have no baseline.
    """

    gate: str
    path: Path | None = None
    reason: str = ""
    owed: bool = False


def update_baselines(
    verdicts: Sequence[Verdict], comparisons: Sequence[Comparison], directory: Path
) -> list[Update]:
    """Write the baselines of all gates that were decided.

    Args:
        verdicts: All that count in the run.
        comparisons: Of these verdicts with the older baselines; a gate that breaks a limit, or
            may, keeps its older baseline.
        directory: Of the baselines; made if it is not there.

    Returns:
        One update per verdict.
    """
    counts = Counter(verdict.gate for verdict in verdicts)
    refused = {
        comparison.gate
        for comparison in comparisons
        if comparison.outcome in {Outcome.FAIL, Outcome.INCONCLUSIVE}
    }
    updates = []
    for verdict in verdicts:
        gate = verdict.gate
        if counts[gate] > 1:
            reason = f"{counts[gate]} measurements have this name"
            updates.append(Update(gate=gate, reason=reason, owed=True))
        elif gate in refused:
            reason = "it breaks a limit against the older baseline, or may"
            updates.append(Update(gate=gate, reason=reason, owed=True))
        else:
            updates.append(_update(verdict, directory))
    if any(update.path for update in updates):
        _open_home(directory)
    return updates


def settled(comparisons: Sequence[Comparison], updates: Sequence[Update]) -> list[Comparison]:
    """Return the comparisons, where a gate that has a new baseline owes no old one."""
    written = {update.gate for update in updates if update.path is not None}
    return [
        replace(comparison, owed=comparison.owed and comparison.gate not in written)
        for comparison in comparisons
    ]


def git_warning(updates: Sequence[Update]) -> str:
    """Say that git would not take the written baselines, and what to do; empty if it would."""
    path = next((update.path for update in updates if update.path is not None), None)
    rule = "" if path is None else git_refusal(path)
    return f"git ignores these baselines ({rule}): {_GIT_ADVICE}" if rule else ""


def git_refusal(path: Path) -> str:
    """Say by which rule git would not take a new file; empty if it would, or there is no git.

    Cost: one run of ``git check-ignore``.
    """
    git = shutil.which("git")
    if git is None:
        return ""
    command = [git, "-C", str(path.parent), "check-ignore", "-v", "--", path.name]
    try:
        done = subprocess.run(  # noqa: S603 - no shell; the only foreign part is a path after `--`
            command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    rule = done.stdout.partition("\t")[0]
    pattern = rule.rpartition(":")[2]
    # The last rule decides: one that starts with "!" lets the file in.
    return "" if done.returncode != 0 or pattern.startswith("!") else rule


def _update(verdict: Verdict, directory: Path) -> Update:
    gate = verdict.gate
    if verdict.outcome not in _DECIDED:
        reason = f"the gate ended {verdict.outcome.upper()}: only PASS and FAIL make a baseline"
        return Update(gate=gate, reason=reason, owed=True)
    if not has_outcomes(verdict):
        return Update(gate=gate, reason=f"kind {verdict.kind} does not say how each image ended")
    path = baseline_path(directory, gate)
    try:
        measured = measured_gate(verdict)
        if measured.images.unsure:
            raise InvalidInput(f"{measured.images.unsure} images are undecided or failed")
        if path.is_symlink():
            raise InvalidInput(f"expected {path} as a file of its own, got a link")
        contents = encode_baseline(measured)
        if not path.exists() or path.read_bytes() != contents:
            write_atomically(path, contents)
    except (FgmfError, OSError) as error:
        return Update(gate=gate, reason=str(error), owed=True)
    return Update(gate=gate, path=path)


def _open_home(directory: Path) -> None:
    """Let git see the baselines in a ``.fgmf`` that ignores itself, where that file is ours."""
    absolute = directory.absolute()
    home = next((at for at in (absolute, *absolute.parents) if at.name == HOME), None)
    if home is None:
        return
    ignore = home / IGNORE
    if not ignore.exists() or ignore.read_bytes() in OLD_HOME_IGNORES:
        write_atomically(ignore, HOME_IGNORE)
