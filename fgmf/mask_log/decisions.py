"""Do the records of all agents join, decision by decision? Looked at while a log is read.

    for each stream of an agent:   decision -> digest of its samples, digest of their inputs
    every decision of a process    must stand in the stream of each agent, about the same samples,
                                   and, for agents that see the same, about the same inputs

A decision that was done again after a crash is the last one. Memory: two entries for each decision
of a process, whatever the number of agents.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fgmf.mask_log.completeness import FORWARD
from fgmf.mask_log.places import RESERVED
from fgmf.mask_log.team_streams import MESSAGES, agent_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.mask_log.records import Record
    from fgmf.mask_log.streams import ObservedBatch
    from fgmf.types import Json

MOST_DECISIONS: Final = 2**22
"""Most decisions of a process that are joined."""

_Side = dict[int, tuple[bytes, bytes]]


@dataclass(kw_only=True)
class _Difference:
    """One kind of difference, how often, and where first."""

    count: int = 0
    first: int = -1

    def note(self, step: int) -> None:
        self.first = step if self.count == 0 else min(self.first, step)
        self.count += 1


@dataclass(kw_only=True)
class DecisionJoin:
    """Joins the streams of agents.

    Attributes:
        agents: Names of the agents that must have decided together.
        same_inputs: Those among them that must have seen the same inputs.
        decisions: Of all processes, as the first agent's streams have them.
        too_many: Whether there were more than can be joined.
    """

    agents: tuple[str, ...]
    same_inputs: frozenset[str] = frozenset()
    decisions: int = 0
    too_many: bool = False
    _seen: dict[str, set[str]] = field(default_factory=dict, init=False)
    _reference: dict[str, _Side] = field(default_factory=dict, init=False)
    _inputs: dict[str, _Side] = field(default_factory=dict, init=False)
    _stream: str = field(default="", init=False)
    _layer: str = field(default="", init=False)
    _side: _Side = field(default_factory=dict, init=False)
    _differences: dict[str, _Difference] = field(default_factory=dict, init=False)
    _finished: bool = field(default=False, init=False)

    def take(self, batch: ObservedBatch) -> None:
        """Take what a stream holds about one decision."""
        if batch.stream in RESERVED:
            return
        if batch.stream != self._stream:
            self._settle()
            self._stream, self._side = batch.stream, {}
            self._layer = batch.layout.layer_name
        body = batch.record.body
        if body["pass"] or body["purpose"] != FORWARD or batch.layout.layer_name != self._layer:
            return
        if len(self._side) >= MOST_DECISIONS and body["step"] not in self._side:
            self.too_many = True
            return
        samples, inputs = hashlib.sha256(), hashlib.sha256()
        for row in batch.rows:
            name = "erased" if row is None else repr(batch.layout.decode_id(row))
            encoded = name.encode()
            samples.update(len(encoded).to_bytes(4, "big") + encoded)
            inputs.update(b"" if row is None else batch.layout.input_digest(row))
        self._side[body["step"]] = samples.digest()[:16], inputs.digest()[:16]

    def take_weights(self, stream: str, record: Record, segment: int) -> None:
        """Weights decide nothing."""

    def finish(self) -> None:
        """Join what was read last, and see who is missing; called once, after the log was read."""
        if self._finished:
            return
        self._settle()
        self._finished = True
        for process, seen in self._seen.items():
            where = f" of process {process}" if process else ""
            for agent in self.agents:
                if agent not in seen:
                    self._note(f"agent {agent}{where} has no record", -1)
        if not self._seen:
            self._note("no agent has a record", -1)

    def lines(self) -> Iterator[str]:
        """Say what does not join, in lines that stand alone."""
        for what, difference in self._differences.items():
            if difference.first < 0:
                yield what
            else:
                first, count = difference.first, difference.count
                yield f"{what}: {count} decisions, the first is {first}"

    def evidence(self) -> dict[str, Json]:
        """Return what was joined, as JSON."""
        return {
            "agents": [*self.agents],
            "decisions": self.decisions,
            "processes": [*sorted(self._seen)],
            "differences": [*self.lines()],
            "same_inputs": [*sorted(self.same_inputs)],
        }

    def _settle(self) -> None:
        """Hold the stream that ended against those before it."""
        if not self._stream:
            return
        process, agent = agent_of(self._stream)
        side, self._side = self._side, {}
        where = f" of process {process}" if process else ""
        if agent not in self.agents and agent != MESSAGES:
            self._note(f"stream {self._stream} is of no agent that is named", -1)
            return
        self._seen.setdefault(process, set()).add(agent)
        reference = self._reference.setdefault(process, side)
        if reference is side:
            self.decisions += len(side)
        else:
            self._compare(f"{agent}{where}", reference, side)
        if agent in self.same_inputs:
            first = self._inputs.setdefault(process, side)
            for step in first.keys() & side.keys():
                if first[step][1] != side[step][1]:
                    self._note(f"agent {agent}{where} saw other inputs", step)

    def _compare(self, agent: str, reference: _Side, side: _Side) -> None:
        for step in sorted(reference.keys() - side.keys()):
            self._note(f"agent {agent} has no record of decisions that others have", step)
        for step in sorted(side.keys() - reference.keys()):
            self._note(f"agent {agent} has records of decisions that others have not", step)
        for step in reference.keys() & side.keys():
            if reference[step][0] != side[step][0]:
                self._note(f"agent {agent} has other samples", step)

    def _note(self, what: str, step: int) -> None:
        self._differences.setdefault(what, _Difference()).note(step)
