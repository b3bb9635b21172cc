"""Collect gate files: one item per gate; and saved evidence: one item that replays it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from pytest_fgmf.markers import ANY_GATE
from pytest_fgmf.naming import marker_name
from pytest_fgmf.outcomes import raise_unless_passed, record_verdict
from pytest_fgmf.session import session_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fgmf.gates.specification import Gate, GateSpecification
    from pytest_fgmf.session import GateSession


class GateFileCollector(pytest.File):
    """A gate file: one item for each gate that the profile runs."""

    def collect(self) -> Iterator[pytest.Item]:
        """Read the file.

        Raises:
            CollectError: It is broken; the run ends as a usage error.
        """
        from fgmf.errors import InvalidGateFile
        from fgmf.gatefile import find_gate_file

        session = session_of(self.config)
        try:
            if self.path != session.settings.gatefile:
                find_gate_file(self.path.parent)  # two gate files in one folder are an error
            gates = session.gate_file(self.path).gates
        except InvalidGateFile as error:
            session.broken[self.nodeid] = str(error)
            raise self.CollectError(str(error)) from None
        for gate in gates:
            yield GateItem.from_parent(self, gate=gate)


class GateItem(pytest.Item):
    """One gate of a gate file."""

    gate: GateSpecification

    @classmethod
    def from_parent(  # type: ignore[override] # the documented way to add arguments
        cls, parent: GateFileCollector, *, gate: GateSpecification
    ) -> GateItem:
        """Make the item of a gate; it is named after the gate."""
        item: GateItem = super().from_parent(parent, name=gate.name)
        item.gate = gate
        item.add_marker(ANY_GATE)
        item.add_marker(marker_name(str(getattr(gate, "kind", ANY_GATE))))
        return item

    def runtest(self) -> None:
        """Measure the gate.

        Raises:
            GateFailure: Outcome FAIL.
            GateInconclusive: Outcome INCONCLUSIVE that the gate does not let through.
            GateError: Outcome ERROR.
        """
        verdict = session_of(self.config).run_of(self.path).run(cast("Gate", self.gate))
        gate_file = "" if self.parent is None else self.parent.nodeid
        record_verdict(self, verdict, required=self.gate.required, gate_file=gate_file)
        raise_unless_passed(verdict)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Point to the gate's ``[[gate]]`` in the file."""
        line = session_of(self.config).gate_file(self.path).lines.get(self.name)
        return self.path, None if line is None else line - 1, self.name


class EvidenceCollector(pytest.File):
    """Saved evidence: one item that shows it to the model again, through the fixtures."""

    def collect(self) -> Iterator[pytest.Item]:
        """Make the item."""
        directory = self.path.parent

        def replay(fgmf: object) -> None:
            __tracebackhide__ = True
            fgmf.replay(directory)  # type: ignore[attr-defined] # our own fixture

        yield ReplayItem.from_parent(self, name="replay", callobj=replay)


class ReplayItem(pytest.Function):
    """Saved evidence, shown to the model that the fixtures or the gate file give."""

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Point to the evidence instead of our own function."""
        return self.path, None, f"replay of {self.path.parent.name}"


def complete(session: GateSession, run: pytest.Session, items: list[pytest.Item]) -> None:
    """Add the root's gates to a collection that did not come by them; keep each gate once.

    Args:
        session: State of the run.
        run: Pytest's session.
        items: What was collected; changed in place.
    """
    seen = set()
    for item in list(items):
        if isinstance(item, GateItem):
            if item.nodeid in seen:  # older pytest collects a file twice that two arguments reach
                items.remove(item)
            seen.add(item.nodeid)
    path = session.root_file
    if session.selection != "all" or path is None or _is_among(path, items):
        return
    hook = run.gethookproxy(path.parent)
    if not hook.pytest_ignore_collect(collection_path=path, config=session.config):
        collector = GateFileCollector.from_parent(run, path=path, nodeid=session.shown(path))
        items.extend(run.genitems(collector))


def _is_among(path: Path, items: list[pytest.Item]) -> bool:
    return any(isinstance(item, GateItem) and item.path == path for item in items)
