"""Baselines on the command line: `fgmf check --compare`, and `fgmf compare A B`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fgmf.baselines import (
    BASELINES_DIRECTORY,
    ExpectedGates,
    append_history,
    compare_sources,
    compare_with_baselines,
    git_warning,
    history_document,
    parse_limit,
    read_source,
    settled,
    update_baselines,
    worst_outcome,
)
from fgmf.cli.exits import ExitCode, WrongUse, exit_code_of_outcome, say, worst_of
from fgmf.errors import FgmfError, InvalidInput
from fgmf.gatefile import in_ci
from fgmf.reporting.comparison import comparison_document, render_comparisons, render_updates

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fgmf.baselines import Limit, Update
    from fgmf.gatefile import GateFile
    from fgmf.types import Json
    from fgmf.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class ComparisonWishes:
    """What was asked about baselines, checked."""

    directory: Path | None
    limits: tuple[Limit, ...]
    compare: bool
    update: bool


@dataclass(frozen=True, kw_only=True)
class ComparisonRequest:
    """The options of `fgmf check` about baselines, as they were written."""

    directory: Path | None = None
    compare: bool = False
    limits: tuple[str, ...] = ()
    update: bool = False
    force: bool = False

    def checked(self) -> ComparisonWishes:
        """Return what is meant.

        Raises:
            WrongUse: A limit is none, the directory is a file or is not used, or baselines
                would be written in CI.
        """
        if self.update and in_ci() and not self.force:
            message = "--update-baseline: expected a run by hand, got one with the variable CI set"
            raise WrongUse(f"{message}; with --force baselines are written all the same")
        compare = self.compare or bool(self.limits)
        if self.directory is not None and not (compare or self.update):
            raise WrongUse("expected --baselines with --compare or --update-baseline")
        if self.force and not self.update:
            raise WrongUse("expected --force with --update-baseline")
        if self.directory is not None and self.directory.exists() and not self.directory.is_dir():
            raise WrongUse(f"expected --baselines as a directory, got {self.directory}")
        return ComparisonWishes(
            directory=self.directory,
            limits=_limits(self.limits, "--compare-fail"),
            compare=compare,
            update=self.update,
        )


@dataclass(frozen=True, kw_only=True)
class SettledBaselines:
    """What came of it: an exit code, and facts for the report."""

    code: ExitCode = ExitCode.PASSED
    facts: dict[str, Json] = field(default_factory=dict)


def settle_baselines(
    wishes: ComparisonWishes,
    verdicts: Sequence[Verdict],
    gate_file: GateFile,
    *,
    partial: bool,
    finished: bool,
) -> SettledBaselines:
    """Compare the verdicts of a run with their baselines, say so, and write new ones.

    Args:
        wishes: What was asked.
        verdicts: Of the run.
        gate_file: Baselines lie beside it; gates that its profile leaves out owe nothing.
        partial: Only some gates were picked.
        finished: False if the run was interrupted; then nothing is written.
    """
    if not wishes.compare and not wishes.update:
        return SettledBaselines()
    directory = wishes.directory or gate_file.path.parent / BASELINES_DIRECTORY
    comparisons = compare_with_baselines(
        verdicts,
        directory,
        limits=wishes.limits,
        expected=ExpectedGates(left_out=gate_file.left_out, partial=partial),
    )
    updates: list[Update] = []
    if wishes.update and finished:
        updates = update_baselines(verdicts, comparisons, directory)
        comparisons = settled(comparisons, updates)
    for text in (render_comparisons(comparisons), render_updates(updates), git_warning(updates)):
        if text:
            say(f"\n{text}")
    code = exit_code_of_outcome(worst_outcome(comparisons))
    if any(update.owed for update in updates):
        code = worst_of(code, ExitCode.ERROR)
    return SettledBaselines(
        code=code, facts={"comparisons": [comparison_document(entry) for entry in comparisons]}
    )


def remember(
    path: Path, verdicts: Sequence[Verdict], gate_file: GateFile, *, finished: bool
) -> SettledBaselines:
    """Append the verdicts of a run to a history, and say so.

    Args:
        path: The file.
        verdicts: Of the run.
        gate_file: Lies in the repository that is measured.
        finished: False if the run was interrupted; then nothing is written.

    Returns:
        Facts for the report; ERROR where nothing could be appended.
    """
    if not finished:
        say("history NOT written: the run did not finish", error=True)
        return SettledBaselines(code=ExitCode.ERROR)
    try:
        entries = append_history(
            path, verdicts, directory=gate_file.path.parent, now=datetime.now(UTC)
        )
    except (OSError, FgmfError) as error:
        say(f"history NOT written: {error}", error=True)
        return SettledBaselines(code=ExitCode.ERROR)
    say(f"history: {path}")
    return SettledBaselines(
        facts={"history": history_document(entries, [verdict.gate for verdict in verdicts])}
    )


def run_compare(before: Path, now: Path, *, limits: Sequence[str]) -> ExitCode:
    """Compare two reports or baselines.

    Args:
        before: A JSON report, a baseline file, or a directory of baselines.
        now: The same.
        limits: The most that a gate may lose.

    Returns:
        PASSED, or what the worst gate calls for; ERROR if not one gate could be compared.

    Raises:
        WrongUse: A path leads to nothing of that kind, or a limit is none.
        InvalidBaseline: A file is damaged.
    """
    wanted = _limits(limits, "--fail")
    try:
        sides = read_source(before), read_source(now)
    except InvalidInput as error:
        raise WrongUse(str(error)) from None
    comparisons = compare_sources(*sides, wanted)
    say(render_comparisons(comparisons))
    if not any(comparison.status == "compared" for comparison in comparisons):
        say("fgmf: no gate could be compared", error=True)
        return ExitCode.ERROR
    return exit_code_of_outcome(worst_outcome(comparisons))


def _limits(texts: Sequence[str], option: str) -> tuple[Limit, ...]:
    try:
        return tuple(dict.fromkeys(map(parse_limit, texts)))
    except InvalidInput as error:
        raise WrongUse(f"{option}: {error}") from None
