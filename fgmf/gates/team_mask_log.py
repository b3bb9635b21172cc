"""Gate kind `team-mask-log`: the mask logs of all agents of a team are complete, and join.

In short::

    everything that `mask-log` asks for, of the whole log
    FAIL    an agent that the gate names has no stream, or no record of a decision that another
            one has, or records it about other samples, or saw other inputs than it must have;
            a stream is of an agent that the gate does not name

The agents stand in the gate file, outside the log: a writer that forgets one is found out there.
About no model and no data, like `mask-log`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from fgmf.gates.mask_log import MaskLogGate
from fgmf.gates.problems import Misfit, misfits
from fgmf.gates.specification import RunContext

if TYPE_CHECKING:
    from fgmf.verdict import Verdict


class TeamMaskLogGate(MaskLogGate):
    """The mask log of a team holds every agent's records, joined decision by decision.

    ``TeamMaskLogGate(path="runs/7/mask-log", head="sha256:…", agents=("cnn", "vit")).check()``
    returns a :class:`~fgmf.verdict.Verdict`.
    """

    kind: Literal["team-mask-log"] = "team-mask-log"  # type: ignore[assignment]  # a kind of its own
    agents: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of the agents; each has a stream of that name, or ``process.name``."""
    same_inputs: tuple[str, ...] = ()
    """Agents whose masks lie on the same input: digests must agree in every decision."""

    @model_validator(mode="after")
    def _known_agents(self) -> TeamMaskLogGate:
        if len(set(self.agents)) < len(self.agents):
            allowed = "every agent once"
            raise misfits(type(self).__name__, [Misfit("agents", allowed, list(self.agents))])
        if not set(self.same_inputs) <= set(self.agents) or len(self.same_inputs) == 1:
            allowed = "two or more names of `agents`, or none"
            got = list(self.same_inputs)
            raise misfits(type(self).__name__, [Misfit("same_inputs", allowed, got)])
        return self

    def check(self, *, context: RunContext | None = None) -> Verdict:
        """Verify the log, join its streams, and judge.

        Args:
            context: Directory that paths are relative to, progress.

        Returns:
            A verdict; ERROR where there is no log, or where it cannot be read.

        Cost: reads every byte of the log once; two entries of memory per decision.
        """
        from fgmf.gates.mask_log_check import check_mask_log
        from fgmf.mask_log.decisions import DecisionJoin

        join = DecisionJoin(agents=self.agents, same_inputs=frozenset(self.same_inputs))
        return check_mask_log(self, context or RunContext(), join=join)
