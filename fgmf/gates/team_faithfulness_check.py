"""Carrying out a team-faithfulness gate: fused maps, each agent's, and their disagreement."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from fgmf.attribution.building import explainer
from fgmf.attribution.catalogue import find_explainer
from fgmf.explaining.painting import coloured, shown_image
from fgmf.explaining.tiles import TileRow, tiled_picture
from fgmf.faithfulness.intervals import score_interval
from fgmf.gates.checking import deadline_after, settled
from fgmf.gates.explanation_pictures import SIGNS
from fgmf.gates.faithfulness_check import FaithfulnessCheck
from fgmf.gates.faithfulness_evidence import comparison_rows, evidence_of_faithfulness
from fgmf.statistics import compare_to_limit
from fgmf.team_faithfulness import FusedExplainer, TeamMaps, compare_agents, explain_agents
from fgmf.team_robustness import OneAlone, has_gradient, team_of
from fgmf.verdict import Condition, Verdict

if TYPE_CHECKING:
    from fgmf.attribution.interface import Explainer
    from fgmf.classifier import Classifier
    from fgmf.faithfulness.comparing import FaithfulnessMeasurement
    from fgmf.gates.specification import RunContext
    from fgmf.gates.subject import MeasuredImages
    from fgmf.gates.team_faithfulness import TeamFaithfulnessGate
    from fgmf.types import Images, Json, Labels

_FUSED: Final = "fused"


def check_team_faithfulness(
    gate: TeamFaithfulnessGate,
    classifier: Classifier,
    images: Images,
    labels: Labels,
    context: RunContext,
) -> Verdict:
    """Carry out the gate; see :meth:`fgmf.gates.TeamFaithfulnessGate.check`."""
    check = _Check(
        gate=gate,
        kind=gate.kind,
        threshold=gate.demands()[0].threshold,
        classifier=classifier,
        context=context,
    )
    return check.carry_out(images, labels)


@dataclass(kw_only=True)
class _Check(FaithfulnessCheck):
    gate: TeamFaithfulnessGate

    def run(self, images: Images, labels: Labels) -> Verdict:
        gate, deadline = self.gate, deadline_after(self.gate.max_seconds)
        # Agents are explained one by one: a rule without a gradient is in nobody's way.
        needs_gradient = find_explainer(gate.explainer.name).needs_gradient
        needs_gradient &= has_gradient(team_of(self.classifier))
        samples = self.inspected(images, labels, needs_gradient=needs_gradient)
        subject = self.chosen(samples, count=gate.images)
        method = explainer(gate.explainer.name, gate.explainer.parameters)
        with self.guarded():
            targets = self.targets_of(subject)
            measured = self._measured(method, subject, targets, deadline)
            maps = self._maps(method, subject, targets)
        return self._joined(measured, maps, subject)

    def _measured(
        self,
        method: Explainer,
        subject: MeasuredImages,
        targets: Labels,
        deadline: float | None,
    ) -> dict[str, FaithfulnessMeasurement]:
        """The fused maps on the team first, then each agent's on the agent alone."""
        team = team_of(self.classifier)
        fused = FusedExplainer(explainer=method)
        found = {_FUSED: self.compared(fused, self.classifier, subject, targets, deadline)}
        if self.gate.each_agent:
            for number, name in enumerate(team.names):
                alone = self.classifier.around(OneAlone(team, number))
                found[f"agent {name}"] = self.compared(method, alone, subject, targets, deadline)
        return found

    def _maps(self, method: Explainer, subject: MeasuredImages, targets: Labels) -> TeamMaps:
        singles = explain_agents(
            method, self.classifier, subject.images, targets, keys=subject.keys, seed=self.seed
        )
        return compare_agents(team_of(self.classifier).names, singles)

    def _joined(
        self, measured: dict[str, FaithfulnessMeasurement], maps: TeamMaps, subject: MeasuredImages
    ) -> Verdict:
        gate = self.gate
        conditions = [
            replace(one, subject=f"{who}, {one.subject}" if one.subject else who)
            for who, measurement in measured.items()
            for one in self.held(measurement, subject)
        ]
        if gate.max_disagreement is not None:
            conditions.append(self._disagreement(maps, subject, gate.max_disagreement))
        missing = any(one.scores is None for m in measured.values() for one in m.comparisons)
        outcome, reason = settled(
            tuple(conditions), failure=None, undecided=len(subject.indices) if missing else 0
        )
        main = conditions[0]
        return Verdict(
            gate=self.name,
            kind=gate.kind,
            outcome=outcome,
            reason=reason,
            measured=main.measured,
            interval=main.interval,
            threshold=main.threshold,
            direction=main.direction,
            image_count=len(subject.indices),
            seed=self.seed,
            reproduce=self.context.reproduce,
            conditions=tuple(conditions),
            findings=self.findings,
            evidence=self._evidence(measured, maps, subject),
        )

    def _disagreement(self, maps: TeamMaps, subject: MeasuredImages, threshold: float) -> Condition:
        gate = self.gate
        interval = score_interval(
            maps.scores.numpy(),
            confidence=gate.confidence,
            scale=(0.0, 1.0),
            population=subject.dataset_size if gate.population == "dataset" else None,
        )
        return Condition(
            quantity="disagreement",
            measured=float(maps.scores.mean()),
            interval=interval,
            threshold=threshold,
            outcome=compare_to_limit(interval, threshold, direction="at-most"),
            direction="at-most",
        )

    def _evidence(
        self, measured: dict[str, FaithfulnessMeasurement], maps: TeamMaps, subject: MeasuredImages
    ) -> dict[str, Json]:
        evidence = evidence_of_faithfulness(self.gate, measured[_FUSED], subject, self.classifier)
        rows: list[Json] = [
            {**row, "title": f"{who}: {row['title']}"}
            for who, measurement in measured.items()
            for row in comparison_rows(measurement)
        ]
        scores: list[Json] = [float(value) for value in maps.scores]
        own: list[Json] = self._pictures(maps, subject)
        drawn = evidence.get("pictures")
        return {
            **evidence,
            "comparisons": rows,
            "team_maps": {
                "agents": list(maps.names),
                "disagreement": float(maps.scores.mean()),
                "scores": scores,
            },
            "pictures": [*own, *(drawn if isinstance(drawn, list) else [])],
        }

    def _pictures(self, maps: TeamMaps, subject: MeasuredImages) -> list[Json]:
        """Each agent's map, the fused one, and where agents disagree."""
        count = min(self.gate.pictures if self.gate.save_failures else 0, len(subject.indices))
        if not count:
            return []
        pixels = subject.images.double().numpy()
        rows = [
            TileRow(
                caption=f"image {subject.indices[at]}, disagreement {float(maps.scores[at]):.2f}",
                tiles=[
                    shown_image(pixels[at], self.classifier.bounds),
                    *(coloured(one[at].double().numpy()) for one in maps.maps),
                    coloured(maps.fused[at].double().numpy()),
                    coloured(maps.disagreement[at].double().numpy()),
                ],
            )
            for at in range(count)
        ]
        columns = ("image", *maps.names, "fused", "disagreement")
        made: Json = tiled_picture("Agents", columns, rows, hint=SIGNS)
        return [made]
