"""What is shown of a gate while it runs: a bar on a terminal, and notes when it has ended."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fgmf.cli.exits import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.gates.specification import Progress


class ProgressLine:
    """The bar of the gate that is running, on the standard error stream."""

    def __init__(self) -> None:
        """Draw nothing yet."""
        self._bar: Any = None
        self._task: Any = None
        self._notes: list[str] = []

    def note(self, message: str) -> None:
        """Take something that the user should know; it is said when the gate has ended."""
        self._notes.append(message)

    @contextmanager
    def shown(self, gate: str) -> Iterator[None]:
        """Show a bar while the body runs, and remove it afterwards; then say the notes.

        Args:
            gate: Name of the gate.
        """
        try:
            with self._drawn(gate):
                yield
        finally:
            for note in self._notes:
                say(f"note: {note}")
            self._notes = []

    @contextmanager
    def _drawn(self, gate: str) -> Iterator[None]:
        if not sys.stderr.isatty():
            yield
            return
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
        from rich.progress import TimeElapsedColumn as Elapsed

        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), Elapsed())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            self._bar, self._task = bar, bar.add_task(escape(gate), total=None)
            try:
                yield
            finally:
                self._bar = None

    def update(self, progress: Progress) -> None:
        """Take news from a running gate."""
        if self._bar is not None:
            from rich.markup import escape

            self._bar.update(
                self._task,
                description=escape(f"{progress.gate}: {progress.stage}"),
                completed=progress.done,
                total=progress.total,
            )
