"""Gates that had to run and did not: they are errors, in every report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pytest_fgmf.outcomes import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_fgmf.session import GateSession

_PICKED: Final = {"node ids": "node ids were given", "packages": "a package was given"}


def unmet_requirements(session: GateSession) -> list[Record]:
    """Return an ERROR record for each required gate that has no verdict that counts.

    Required are the gates of gate files that say so, gates in tests that say so, and those
    that an option or ini value names. Where the user picked single node ids, only the gates
    that the command line itself requires.
    """
    counting = [record for record in session.records if record.counts]
    met = {record.nodeid for record in counting}
    met_names = {record.verdict.gate for record in counting}
    unmet = {}
    for nodeid in _required_items(session):
        if nodeid not in met:
            unmet[nodeid] = _unmet(session, nodeid)
    reported = {record.verdict.gate for record in unmet.values()}
    for name in _required_names(session):
        if name not in met_names | reported:
            nodeid = _likely_node_id(session, name)
            unmet[nodeid] = _unmet(session, nodeid)
    return list(unmet.values())


def unmeasured_gates(session: GateSession) -> dict[str, str]:
    """Gates of the root's gate file without a verdict, each with the reason."""
    gate_file, path = session.root_gates, session.root_file
    if gate_file is None or path is None:
        return {}
    measured = {record.nodeid for record in session.records}
    nodeids = {gate.name: f"{session.shown(path)}::{gate.name}" for gate in gate_file.gates}
    return {
        name: _fate(session, nodeid) for name, nodeid in nodeids.items() if nodeid not in measured
    }


def _required_items(session: GateSession) -> Iterator[str]:
    if session.selection != "all":
        return
    gate_file, path = session.root_gates, session.root_file
    if gate_file is not None and path is not None:
        yield from (f"{session.shown(path)}::{name}" for name in gate_file.required)
    yield from sorted(session.required_elsewhere)
    yield from (record.nodeid for record in session.records if record.required)


def _required_names(session: GateSession) -> Iterator[str]:
    settings = session.settings
    wanted = settings.require if session.selection == "all" else settings.require_always
    left_out = () if session.root_gates is None else session.root_gates.left_out
    return (name for name in wanted if name not in left_out)


def _likely_node_id(session: GateSession, name: str) -> str:
    path = session.root_file
    return f"{'fgmf.toml' if path is None else session.shown(path)}::{name}"


def _unmet(session: GateSession, nodeid: str) -> Record:
    from fgmf.running import error_verdict

    known = [record for record in session.records if record.nodeid == nodeid]
    path, _, name = nodeid.partition("::")
    if known:
        name = known[0].verdict.gate
    kind = known[0].verdict.kind if known else _kind(session, name)
    reason = f"the gate is required, but it was not run: {_fate(session, nodeid)}"
    verdict = error_verdict(name, kind, reason, reproduce=session.command(nodeid))
    return Record(verdict=verdict, nodeid=nodeid, gate_file=path, required=True)


def _kind(session: GateSession, name: str) -> str:
    gates = () if session.root_gates is None else session.root_gates.gates
    kinds = (str(getattr(gate, "kind", "")) for gate in gates if gate.name == name)
    return next(kinds, "unknown")


def _fate(session: GateSession, nodeid: str) -> str:
    if nodeid in session.fates:
        return session.fates[nodeid]
    # under --dist=loadgroup xdist appends the group to the node ids of its reports
    grouped = (fate for n, fate in session.fates.items() if n.startswith(f"{nodeid}@"))
    return next(grouped, None) or _why_unseen(session, nodeid)


def _why_unseen(session: GateSession, nodeid: str) -> str:
    path, _, name = nodeid.partition("::")
    gate_file = session.root_gates
    if gate_file is None:
        if session.selection in _PICKED:
            return f"nothing that was picked ran it ({_PICKED[session.selection]})"
        return "there is no gate file"
    known = {gate.name for gate in gate_file.gates}
    if path == session.shown(gate_file.path) and name not in known:
        return f"{path} has no gate of that name"
    return "it was not collected, or the run stopped before it"
