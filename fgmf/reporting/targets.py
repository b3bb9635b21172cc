"""Where a report goes and in which form: what `FORM:PATH` means, for the plugin and the command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from fgmf.canonical import write_atomically
from fgmf.errors import InvalidInput
from fgmf.reporting.document import encode_report, report_document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fgmf.types import Json
    from fgmf.verdict import Verdict

ReportForm = Literal["json", "markdown", "html"]
REPORT_FORMS: Final[tuple[ReportForm, ...]] = get_args(ReportForm)


@dataclass(frozen=True, kw_only=True)
class ReportTarget:
    """One file to write.

    Attributes:
        form: How it is written.
        path: Where to.
    """

    form: ReportForm
    path: Path


def report_target(text: str, *, base: Path | None = None) -> ReportTarget:
    """Read ``FORM:PATH``.

    Args:
        text: Such as ``html:out/report.html``.
        base: Directory that a relative path is meant from; None leaves it as it is.

    Raises:
        InvalidInput: A form that there is not, no path, or the path of a directory.
    """
    form, _, name = text.partition(":")
    path = Path(name) if base is None else base / name
    known = [entry for entry in REPORT_FORMS if entry == form]
    if not known or not name or _is_no_file(path):
        forms = ", ".join(f"{entry}:PATH" for entry in REPORT_FORMS)
        raise InvalidInput(f"expected one of {forms} with the path of a file, got {text!r}")
    return ReportTarget(form=known[0], path=path)


def _is_no_file(path: Path) -> bool:
    """Say whether no file can have a path: a directory has it, or the system takes no such name."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return True


def write_report(
    target: ReportTarget, verdicts: Sequence[Verdict], *, run: Mapping[str, Json], root: Path
) -> None:
    """Write a report whole, or leave the file as it was.

    Args:
        target: Form and file.
        verdicts: Of all gates of a run.
        run: Facts about the run.
        root: Directory that artifact paths are relative to; pictures below it are shown.

    Raises:
        OSError: The file cannot be written.
        InvalidInput: The evidence of a gate holds something that is not JSON.
    """
    if target.form == "json":
        contents = encode_report(report_document(verdicts, run=run))
    elif target.form == "markdown":
        from fgmf.reporting.markdown import render_markdown

        contents = render_markdown(verdicts, run=run).encode("utf-8", errors="backslashreplace")
    else:
        from fgmf.reporting.page import render_page
        from fgmf.reporting.pictures import pictures_of

        page = render_page(verdicts, run=run, pictures=pictures_of(verdicts, root=root))
        contents = page.encode("utf-8", errors="backslashreplace")
    write_atomically(target.path, contents)
