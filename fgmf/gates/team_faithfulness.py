"""Gate kind `team-faithfulness`: do explanations of a team, fused over agents, show what it uses?

In short::

    maps        = explainer on each agent alone, about the class that the team decides for
    fused       = mean of the scaled maps; measured on the team, beside references
    each agent  = its own maps, measured on the agent alone, beside references
    disagreement = how differently agents rank pixels, from 0 (alike) to 1 (opposite)
    outcome     = every threshold for the fused maps, for each agent, and for disagreement
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from fgmf.gates.faithfulness import FaithfulnessGate
from fgmf.gates.specification import RunContext

if TYPE_CHECKING:
    from fgmf.classifier import Classifier
    from fgmf.types import Images, Labels
    from fgmf.verdict import Verdict


class TeamFaithfulnessGate(FaithfulnessGate):
    """Metrics of a team's explanations, fused and agent by agent, and how far agents disagree.

    ``TeamFaithfulnessGate(explainer="pgca", min_margin=0.0, max_disagreement=0.4).check(classifier,
    images, labels)`` returns a :class:`~fgmf.verdict.Verdict`.
    """

    kind: Literal["team-faithfulness"] = "team-faithfulness"  # type: ignore[assignment]
    each_agent: bool = True
    """Whether every threshold on a metric holds for each agent alone, too."""
    max_disagreement: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """Highest accepted mean disagreement: 0 alike, 0.5 unrelated, 1 opposite."""

    def check(
        self,
        classifier: Classifier,
        images: Images,
        labels: Labels,
        *,
        context: RunContext | None = None,
    ) -> Verdict:
        """Measure the metrics of fused maps and of each agent's, and judge them.

        Args:
            classifier: Around a `fgmf.agents.Team`, with its bounds and normalisation.
            images: (n, c, h, w) arrays or tensors within the classifier's bounds.
            labels: (n,) class indices.
            context: Run seed, progress.

        Returns:
            A verdict. What keeps the gate from being measured ends in outcome ERROR.

        Cost: for the fused maps that of a faithfulness gate whose explainer runs on every agent;
            once more for each agent alone; and the explainer on every agent for their comparison.
        """
        from fgmf.gates.team_faithfulness_check import check_team_faithfulness

        return check_team_faithfulness(self, classifier, images, labels, context or RunContext())
