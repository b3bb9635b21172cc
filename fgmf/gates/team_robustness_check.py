"""Carrying out a team-robustness gate: end to end, agent by agent, with agents at fault."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypedDict

from fgmf.attacks.sources import AttackSources, KnownExamples
from fgmf.canonical import json_digest, tensor_digest
from fgmf.datasets import collect_samples
from fgmf.errors import BudgetSpent, GateError
from fgmf.gates.checking import GateCheck, deadline_after, settled
from fgmf.gates.examples import save_examples
from fgmf.gates.robustness_attacks import gate_plans
from fgmf.gates.robustness_check import criterion_of
from fgmf.gates.team_robustness import STAND_IN_EXAMPLES, UNDER_ATTACK
from fgmf.gates.team_robustness_evidence import evidence_of_team
from fgmf.preflight import inspect
from fgmf.robustness import (
    Example,
    RobustnessMeasurement,
    RobustnessPlan,
    Thresholds,
    judge_robustness,
    measure_robustness,
)
from fgmf.team_robustness import (
    STAND_INS,
    Fault,
    Judge,
    SoftTeam,
    Transfers,
    has_gradient,
    measure_transfers,
    said_by_agents,
    team_of,
    unmeasured,
    with_compromised,
    with_compromised_attacked,
    with_messages,
    with_missing,
    with_stale,
)
from fgmf.verdict import Condition, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from fgmf.agents.team import Team
    from fgmf.attacks.criteria import Criterion
    from fgmf.classifier import Classifier
    from fgmf.datasets import Samples
    from fgmf.gates.robustness import RobustnessGate
    from fgmf.gates.specification import RunContext
    from fgmf.gates.subject import MeasuredImages
    from fgmf.gates.team_robustness import TeamRobustnessGate
    from fgmf.threat import ThreatModel
    from fgmf.types import Images, Json, Labels


def check_team_robustness(
    gate: TeamRobustnessGate,
    classifier: Classifier,
    images: Images,
    labels: Labels,
    context: RunContext,
) -> Verdict:
    """Carry out a team-robustness gate; see :meth:`fgmf.gates.TeamRobustnessGate.check`."""
    check = _Check(
        gate=gate,
        kind=gate.kind,
        threshold=gate.min_robust_accuracy,
        classifier=classifier,
        context=context,
    )
    return check.carry_out(images, labels)


@dataclass(kw_only=True)
class _Found:
    """What was measured so far; what is missing was not reached in time."""

    whole: RobustnessMeasurement
    stand_ins: bool
    transfers: Transfers | None = None
    faults: list[Fault] = field(default_factory=list)


class _Asked(TypedDict):
    """What every attack on single agents is told."""

    threat: ThreatModel
    steps: int
    keys: Sequence[str]
    seed: int
    deadline: float | None


@dataclass(kw_only=True)
class _Check(GateCheck):
    gate: TeamRobustnessGate

    def run(self, images: Images, labels: Labels) -> Verdict:
        gate, deadline = self.gate, deadline_after(self.gate.max_seconds)
        team = team_of(self.classifier)
        samples = collect_samples((images, labels))
        stand_ins = not has_gradient(team)
        self._inspect(team, samples, stand_ins=stand_ins)
        subject = self.chosen(samples, count=gate.images)
        attacked = gate.attacked_gate(through_stand_ins=stand_ins)
        self.follows_margin = True  # the attack on each agent alone does
        with self.guarded():
            whole = self._end_to_end(team, attacked, subject, deadline, stand_ins=stand_ins)
            found = _Found(whole=whole, stand_ins=stand_ins)
            self._members(found, team, subject, deadline)
        return self._verdict(found, attacked, subject)

    def _inspect(self, team: Team, samples: Samples, *, stand_ins: bool) -> None:
        """The preflight; of a rule without a gradient, on a stand-in that has one."""
        subject = self.classifier
        if stand_ins:
            subject = subject.around(SoftTeam(team, STAND_INS[0]))
        self.findings = inspect(
            subject,
            samples,
            threat=self.gate.threat_model(self.classifier.bounds),
            kind=self.kind,
            waive=self.gate.waive,
            seed=self.seed,
        )
        blocked = self.blocked()
        if blocked is not None:
            raise GateError(blocked.reason)

    def _end_to_end(
        self,
        team: Team,
        attacked: RobustnessGate,
        subject: MeasuredImages,
        deadline: float | None,
        *,
        stand_ins: bool,
    ) -> RobustnessMeasurement:
        criterion = criterion_of(attacked, self.classifier, subject)
        random_output = any(f.name == "nondeterministic-output" for f in self.findings)
        plan = RobustnessPlan(
            threat=self.gate.threat_model(self.classifier.bounds),
            attacks=gate_plans(attacked, gradient_available=True, random_output=random_output),
            seed=self.seed,
            deadline=deadline,
            expect_steady="nondeterministic-output" not in self.gate.waive,
            on_progress=self.report_progress,
        )
        if stand_ins:
            own = gate_plans(self.gate.attacked_gate(), gradient_available=True)
            sources = self._stand_ins(team, subject, criterion, replace(plan, attacks=own))
            plan = replace(plan, sources=sources)
        return measure_robustness(
            self.classifier, subject.images, criterion, plan, keys=subject.keys
        )

    def _stand_ins(
        self, team: Team, subject: MeasuredImages, criterion: Criterion, plan: RobustnessPlan
    ) -> AttackSources:
        """The stand-ins for a rule, and what the gate's own attacks find on the first one."""
        made: dict[str, Classifier] = {
            name: self.classifier.around(SoftTeam(team, name)) for name in STAND_INS
        }
        found = measure_robustness(
            made[STAND_INS[0]],
            subject.images,
            criterion,
            replace(plan, example_limit=len(subject.indices)),
            keys=subject.keys,
        )
        images = {subject.keys[one.position]: one.image for one in found.examples}
        rows: list[Json] = [[key, tensor_digest(image)] for key, image in images.items()]
        known = KnownExamples(
            digest=json_digest(rows), images=images, stored=len(images), matched=len(images)
        )
        return AttackSources(surrogates=made, known={STAND_IN_EXAMPLES: known})

    def _members(
        self, found: _Found, team: Team, subject: MeasuredImages, deadline: float | None
    ) -> None:
        """Agent by agent, then with agents at fault; what time ran out for stays missing."""
        asked = _Asked(
            threat=self.gate.threat_model(self.classifier.bounds),
            steps=self.gate.agent_steps,
            keys=subject.keys,
            seed=self.seed,
            deadline=deadline,
        )
        try:
            found.transfers = measure_transfers(
                self.classifier, subject.images, subject.labels, **asked
            )
            found.whole = _with_agents_attacked(found.whole, found.transfers)
            said = said_by_agents(self.classifier, subject.images)
            for name, count, _ in self.gate.faults():
                if deadline is not None and time.monotonic() >= deadline:
                    return
                if name == UNDER_ATTACK:
                    fault = with_compromised_attacked(
                        self.classifier,
                        subject.images,
                        subject.labels,
                        count=count,
                        known=found.transfers.examples,
                        **asked,
                    )
                else:
                    fault = self._fault(name, team, said, subject, count=count)
                found.faults.append(fault)
        except BudgetSpent:
            return

    def _fault(
        self, name: str, team: Team, said: torch.Tensor, subject: MeasuredImages, *, count: int
    ) -> Fault:
        labels = subject.labels
        if name == "compromised":
            return with_compromised(team, said, labels, count=count)
        if name == "missing":
            return with_missing(team, said, labels, count=count)
        measure = with_stale if name == "stale" else with_messages
        return measure(team, said, labels, count=count, keys=subject.keys, seed=self.seed)

    def _verdict(self, found: _Found, attacked: RobustnessGate, subject: MeasuredImages) -> Verdict:
        gate, whole = self.gate, found.whole
        conditions = self._conditions(found, subject)
        outcome, reason = settled(
            conditions,
            failure=_failure(whole),
            undecided=int(whole.undecided.sum()) or self._unreached(found, subject),
        )
        main = conditions[0]
        threat = gate.threat_model(self.classifier.bounds)
        verdict = Verdict(
            gate=self.name,
            kind=gate.kind,
            outcome=outcome,
            reason=reason,
            measured=main.measured,
            interval=main.interval,
            threshold=main.threshold,
            image_count=len(subject.indices),
            seed=self.seed,
            reproduce=self.context.reproduce,
            conditions=conditions,
            findings=self.findings,
            evidence=evidence_of_team(
                attacked,
                whole,
                found.transfers,
                found.faults,
                subject,
                self.classifier,
                stand_ins=found.stand_ins,
            ),
        )
        return save_examples(
            verdict,
            whole.examples,
            subject,
            threat=threat,
            gate=gate,
            context=self.context,
            verified=whole.verified,
        )

    def _unreached(self, found: _Found, subject: MeasuredImages) -> int:
        """Images that something asked for was not measured on."""
        missing = found.transfers is None or len(found.faults) < len(self.gate.faults())
        return len(subject.indices) if missing else 0

    def _conditions(self, found: _Found, subject: MeasuredImages) -> tuple[Condition, ...]:
        gate = self.gate
        thresholds = Thresholds(
            robust_accuracy=gate.min_robust_accuracy,
            clean_accuracy=gate.min_clean_accuracy,
            confidence=gate.confidence,
            population=gate.population,
            dataset_size=subject.dataset_size,
        )
        judge = Judge(
            confidence=gate.confidence,
            population_size=subject.dataset_size if gate.population == "dataset" else None,
            whole=subject.dataset_size == len(subject.indices),
        )
        conditions = list(judge_robustness(found.whole, thresholds))
        conditions += self._by_agent(found.transfers, judge)
        measured = {fault.name: fault for fault in found.faults}
        for name, count, threshold in gate.faults():
            quantity, words = f"{name}_accuracy", f"{count} {name.removesuffix('_robust')}"
            if name in measured:
                right = measured[name].right
                conditions.append(judge.share(quantity, right, threshold, words))
            else:
                conditions.append(unmeasured(quantity, threshold, gate.confidence, subject=words))
        return tuple(conditions)

    def _by_agent(self, transfers: Transfers | None, judge: Judge) -> list[Condition]:
        gate, found = self.gate, []
        least, most = gate.min_agent_robust_accuracy, gate.max_transfer
        if least is not None:
            name = "agent_robust_accuracy"
            found.append(
                unmeasured(name, least, gate.confidence)
                if transfers is None
                else judge.worst_agent(transfers, least)
            )
        if most is not None:
            found.append(
                unmeasured("transfer", most, gate.confidence, "at-most")
                if transfers is None
                else judge.worst_transfer(transfers, most)
            )
        return found


def _with_agents_attacked(
    whole: RobustnessMeasurement, transfers: Transfers
) -> RobustnessMeasurement:
    """Count what attacks on single agents break of the team, verified there in two passes."""
    new = transfers.breaks_team & ~whole.broken
    examples = list(whole.examples)
    for at in new.nonzero().flatten().tolist():
        agent = int((~transfers.right_after[:, -1, at]).nonzero()[0])
        examples.append(
            Example(
                position=at,
                image=transfers.examples[agent, at],
                predicted=int(transfers.predicted[agent, at]),
                attack=f"transfer from {transfers.names[agent]}",
            )
        )
    return replace(
        whole,
        broken=whole.broken | new,
        undecided=whole.undecided & ~new,
        failed=whole.failed & ~new,
        examples=tuple(examples),
        verified=whole.verified + int(new.sum()),
    )


def _failure(whole: RobustnessMeasurement) -> str | None:
    if not bool(whole.failed.any()):
        return None
    first = int(whole.failed.nonzero()[0])
    why = next(r.failures[first] for r in whole.records if first in r.failures)
    return f"{int(whole.failed.sum())} images could not be measured ({why})"
