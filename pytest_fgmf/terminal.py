"""What the plugin says: header, and the section with all gates at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_fgmf.required import unmeasured_gates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.gatefile import GateFile
    from pytest_fgmf.session import GateSession

_SHOWN_NAMES = 12


def header_lines(session: GateSession) -> list[str]:
    """Say which gates were found; nothing where there is no gate file."""
    if session.selection == "replay":
        directory = session.settings.replay or session.config.rootpath
        return [f"fgmf: replay of {session.shown(directory)}, and nothing else"]
    path = session.root_file
    if path is None:
        return []
    shown = session.shown(path)
    gate_file = session.root_gates
    if session.selection != "all":
        return [f"fgmf: {shown}: {_not_collected(session)}"]
    if gate_file is None:
        return []
    names = [gate.name + ("*" if gate.required else "") for gate in gate_file.gates]
    lines = [f"fgmf: {shown}, profile {gate_file.profile}: {_counted(names)}"]
    if gate_file.required:
        lines[0] += " (* required)"
    return [*lines, *(f"fgmf: {line}" for line in _left_out(gate_file))]


def summary_lines(session: GateSession) -> list[str]:
    """Say how every gate ended; nothing where there was none."""
    if session.listing:
        return _listed(session)
    if session.config.getoption("collectonly"):
        return []
    lines = _table(session)
    if session.selection == "all":
        lines += [f"not run: {name} ({why})" for name, why in unmeasured_gates(session).items()]
        if session.root_gates is not None:
            lines += _left_out(session.root_gates)
    elif session.root_file is not None and session.selection != "replay" and not lines:
        lines.append(f"{session.shown(session.root_file)}: {_not_collected(session)}")
    lines += session.compared
    if lines:
        lines += [f"note: {note}" for note in session.notes]
        if session.settings.cache and session.measures_anew:
            profile = session.settings.profile
            lines.append(f"the cache is not used: profile {profile} measures everything anew")
        lines += [f"report: {path}" for path in session.written]
    return [*lines, *session.unwritten]


def _table(session: GateSession) -> list[str]:
    if not session.records:
        return []
    from fgmf.reporting import render_table

    verdicts = sorted((r.verdict for r in session.records), key=lambda verdict: verdict.gate)
    return render_table(verdicts).splitlines()


def _listed(session: GateSession) -> list[str]:
    """Say what each gate asks, by file."""
    from fgmf.reporting.gate_list import render_gate_list

    lines: list[str] = []
    for path, gate_file in session.files.items():
        shown = session.shown(path)
        lines.append(f"{shown}, profile {gate_file.profile}:")
        gates = [gate for gate in gate_file.gates if f"{shown}::{gate.name}" in session.listed]
        lines += render_gate_list(gates).splitlines()
        lines += _left_out(gate_file)
    if not session.files:
        lines.append("no gate file")
    return [*lines, "gates of tests are known once the tests run"]


def _not_collected(session: GateSession) -> str:
    picked = "node ids were" if session.selection == "node ids" else "a package was"
    return f"only what was picked runs, and required gates are not checked ({picked} given)"


def _left_out(gate_file: GateFile) -> list[str]:
    if not gate_file.left_out:
        return []
    names = ", ".join(gate_file.left_out)
    return [f"left out by profile {gate_file.profile}: {names}"]


def _counted(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_NAMES
    shown = ", ".join(names[:_SHOWN_NAMES]) + (f", and {more} more" if more > 0 else "")
    return f"{len(names)} {'gate' if len(names) == 1 else 'gates'}: {shown}"
