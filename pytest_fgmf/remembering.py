"""The history of a run's gates: appended at its end, where verdicts are gathered."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_fgmf.session import GateSession


def remember(session: GateSession, *, finished: bool) -> None:
    """Append the verdicts of a run to the history, if that was asked.

    Args:
        session: State of the run; gets the lines to show and the facts for reports.
        finished: False if the run was interrupted; then nothing is written.
    """
    wish = session.settings.history
    if wish is None or session.selection == "replay":
        return
    from fgmf.baselines import HISTORY_FILE, append_history, history_document
    from fgmf.errors import FgmfError
    from pytest_fgmf.comparing import default_directory

    if not finished:
        session.unwritten.append("history NOT written: the run did not finish")
        return
    path = default_directory(session) / HISTORY_FILE if wish == "" else wish
    verdicts = [record.verdict for record in session.records if record.counts]
    if not verdicts:
        if session.selection == "all":
            session.unwritten.append("history NOT written: the run had no gate")
        return
    try:
        entries = append_history(
            path, verdicts, directory=session.config.rootpath, now=datetime.now(UTC)
        )
    except (OSError, FgmfError) as error:
        session.unwritten.append(f"history NOT written: {type(error).__name__}: {error}")
        return
    session.history = history_document(entries, [verdict.gate for verdict in verdicts])
    session.compared.append(f"history: {session.shown(path)}")
