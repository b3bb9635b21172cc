"""Exit codes, and how what goes wrong becomes one of them: never a green one.

0 passed · 1 failed · 2 wrong use of the command line · 3 inconclusive
4 gate or recipe file missing or broken · 5 could not be measured · 130 interrupted
"""

from __future__ import annotations

import sys
import traceback
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING

from fgmf.errors import FgmfError, InvalidGateFile, InvalidRecipeFile
from fgmf.reporting import printable
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fgmf.verdict import Verdict


class ExitCode(IntEnum):
    """What a command says to the shell."""

    PASSED = 0
    FAILED = 1
    USAGE = 2
    INCONCLUSIVE = 3
    BROKEN_GATE_FILE = 4
    ERROR = 5
    INTERRUPTED = 130


class WrongUse(Exception):
    """The command line asks for something that there is not."""


def exit_code_of(verdicts: Sequence[Verdict]) -> ExitCode:
    """Return the worst of some verdicts: error, then fail, then inconclusive.

    Args:
        verdicts: Of a run; none at all is an error, as nothing was measured.
    """
    open_outcomes = {verdict.outcome for verdict in verdicts if not verdict.passed}
    if not verdicts or Outcome.ERROR in open_outcomes:
        return ExitCode.ERROR
    if Outcome.FAIL in open_outcomes:
        return ExitCode.FAILED
    return ExitCode.INCONCLUSIVE if open_outcomes else ExitCode.PASSED


def exit_code_of_outcome(outcome: Outcome | None) -> ExitCode:
    """Return the exit code of an outcome; nothing judged is nothing failed."""
    codes = {
        Outcome.ERROR: ExitCode.ERROR,
        Outcome.FAIL: ExitCode.FAILED,
        Outcome.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
    }
    return ExitCode.PASSED if outcome is None else codes.get(outcome, ExitCode.PASSED)


def worst_of(*codes: ExitCode) -> ExitCode:
    """Return the worst of some codes about gates: error, then fail, then inconclusive."""
    order = (ExitCode.ERROR, ExitCode.FAILED, ExitCode.INCONCLUSIVE)
    return next((code for code in order if code in codes), ExitCode.PASSED)


@contextmanager
def exits() -> Iterator[None]:
    """Turn what a command raises into a message and an exit code.

    Mistakes of users are told without a traceback; only an error of this library itself shows
    one.
    """
    import typer

    try:
        yield
    except WrongUse as error:
        _leave(str(error), ExitCode.USAGE)
    except (InvalidGateFile, InvalidRecipeFile) as error:
        _leave(str(error), ExitCode.BROKEN_GATE_FILE)
    except (FgmfError, OSError) as error:
        _leave(str(error), ExitCode.ERROR)
    except KeyboardInterrupt:
        _leave("interrupted", ExitCode.INTERRUPTED)
    except typer.Exit:
        raise
    except Exception:  # noqa: BLE001 - must not end in a code that means something else
        _leave(f"internal error, please report it:\n{traceback.format_exc()}", ExitCode.ERROR)


def say(text: str, *, error: bool = False) -> None:
    """Write printable lines; characters that the stream does not have are escaped."""
    import typer

    encoding = (sys.stderr if error else sys.stdout).encoding or "utf-8"
    lines = "\n".join(printable(line) for line in text.splitlines())
    typer.echo(lines.encode(encoding, errors="backslashreplace").decode(encoding), err=error)


def _leave(message: str, code: ExitCode) -> None:
    import typer

    say(f"fgmf: {message}", error=True)
    raise typer.Exit(code)
