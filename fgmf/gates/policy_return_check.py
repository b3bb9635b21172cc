"""Carrying out a policy-return gate: environment, preflight, episodes, judgement, evidence."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from fgmf.canonical import tensor_digest
from fgmf.datasets import Samples
from fgmf.errors import FactoryFailed, FgmfError, GateError
from fgmf.gates.checking import GateCheck, deadline_after, settled
from fgmf.gates.examples import library_versions
from fgmf.policies.catalogue import OBSERVATION_ATTACKS
from fgmf.policies.environment import CheckedEnvironment
from fgmf.policies.joint import JointPolicy, joint_policy
from fgmf.policies.judging import PolicyThresholds, judge_policy
from fgmf.policies.measuring import PolicyMeasurement, PolicyPlan, measure_policy
from fgmf.preflight import inspect
from fgmf.preflight.policy import in_order
from fgmf.seeding import derive_seed
from fgmf.verdict import Finding, Verdict

if TYPE_CHECKING:
    import torch

    from fgmf.classifier import Classifier
    from fgmf.gates.policy_return import PolicyReturnGate
    from fgmf.gates.specification import RunContext
    from fgmf.policies.playing import Episodes
    from fgmf.types import Bounds, Images, Json, Labels

_INSPECTED: Final = 64
"""Observations that each agent is inspected on."""
_ABOUT_LABELS: Final = frozenset(
    {"clean-accuracy-at-chance", "duplicate-images", "single-class-data"}
)
"""Findings about labelled images: episodes may well begin alike, and have no labels."""


def check_policy_return(
    gate: PolicyReturnGate, classifier: Classifier, context: RunContext
) -> Verdict:
    """Carry out a policy-return gate; see :meth:`fgmf.gates.PolicyReturnGate.check`."""
    check = _Check(
        gate=gate,
        kind=gate.kind,
        threshold=gate.min_return,
        classifier=classifier,
        context=context,
        follows_margin=True,
    )
    none: Any = None  # the gate is about no images
    return check.carry_out(none, none)


def make_environment(gate: PolicyReturnGate, bounds: Bounds) -> CheckedEnvironment:
    """Import the environment's factory and call it.

    Raises:
        FactoryFailed: It cannot be imported, or raised.
        InvalidInput: What it made is no environment.
    """
    source = f"environment factory {gate.environment!r}"
    module, _, path = gate.environment.partition(":")
    try:
        made: Any = importlib.import_module(module)
        for part in path.split("."):
            made = getattr(made, part)
        world = made(**gate.environment_arguments)
    except FgmfError:
        raise
    except (Exception, SystemExit) as error:
        raise FactoryFailed(f"{source} raised {type(error).__name__}: {error}") from error
    return CheckedEnvironment(world=world, bounds=bounds)


@dataclass(kw_only=True)
class _Check(GateCheck):
    gate: PolicyReturnGate

    def run(self, images: Images, labels: Labels) -> Verdict:
        """Measure and judge; there are no images."""
        del images, labels
        gate, deadline = self.gate, deadline_after(self.gate.max_seconds)
        environment = make_environment(gate, self.classifier.bounds)
        policy = joint_policy(
            self.classifier,
            agent_count=environment.world.agent_count,
            action_count=environment.world.action_count,
        )
        seeds = [derive_seed(self.seed, "episode", number) for number in range(gate.episodes)]
        first = environment.observe(environment.reset(seeds))
        self._inspect(policy, first[:_INSPECTED])
        plan = PolicyPlan(
            threat=gate.threat_model(self.classifier.bounds),
            attacks=gate.observation_attacks,
            steps=gate.steps,
            restarts=gate.restarts,
            seed=self.seed,
            deadline=deadline,
            on_progress=self.report_progress,
        )
        with self.guarded():
            measurement = measure_policy(policy, environment, seeds, plan)
        return self._verdict(measurement, environment, first)

    def _inspect(self, policy: JointPolicy, observations: Images) -> None:
        """Look at the actions of each agent as at a classifier's; its choices are its labels."""
        with policy.classifier.guard(seed=self.seed):
            chosen = policy.decided(observations).argmax(dim=2)
        found: list[Finding] = []
        for agent in range(policy.agent_count):
            findings = inspect(
                policy.of_agent(agent),
                Samples(images=observations, labels=chosen[:, agent]),
                threat=self.gate.threat_model(self.classifier.bounds),
                kind=self.kind,
                waive=self.gate.waive,
                seed=self.seed,
            )
            found += [
                replace(one, message=f"agent {agent}: {one.message}")
                for one in findings
                if one.name not in _ABOUT_LABELS
            ]
        self.findings = in_order(found)
        blocked = self.blocked()
        if blocked is not None:
            raise GateError(blocked.reason)

    def _verdict(
        self, measurement: PolicyMeasurement, environment: CheckedEnvironment, first: Images
    ) -> Verdict:
        gate = self.gate
        thresholds = PolicyThresholds(
            return_under_attack=gate.min_return,
            clean_return=gate.min_clean_return,
            success_rate=gate.min_success_rate,
            confidence=gate.confidence,
            return_range=environment.return_range,
        )
        conditions = judge_policy(measurement, thresholds)
        undecided = 0 if measurement.complete else len(measurement.seeds)
        outcome, reason = settled(conditions, failure=None, undecided=undecided)
        main = conditions[0]
        return Verdict(
            gate=self.name,
            kind=gate.kind,
            outcome=outcome,
            reason=reason.replace("images", "episodes"),
            measured=main.measured,
            interval=main.interval,
            threshold=main.threshold,
            image_count=len(measurement.seeds),
            seed=self.seed,
            reproduce=self.context.reproduce,
            conditions=conditions,
            findings=self.findings,
            evidence=self._evidence(measurement, environment, first),
        )

    def _words(self) -> str:
        titles = [OBSERVATION_ATTACKS[name].title for name in self.gate.observation_attacks]
        worst = "worst of " if len(titles) > 1 else ""
        threat = self.gate.threat_model(self.classifier.bounds).describe()
        return f"{worst}{', '.join(titles)}; {threat} on each observation"

    def _evidence(
        self, measurement: PolicyMeasurement, environment: CheckedEnvironment, first: Images
    ) -> dict[str, Json]:
        gate, world = self.gate, environment.world
        attacks: list[Json] = [
            _row(OBSERVATION_ATTACKS[name].title, episodes, measurement.clean)
            | {"name": name, "parameters": {"steps": gate.steps}, "restarts": gate.restarts}
            for name, episodes in measurement.attacked.items()
        ]
        worst: torch.Tensor = measurement.worst_returns
        return {
            "threat": self._words(),
            "bounds": list(self.classifier.bounds),
            "environment": {
                "factory": gate.environment,
                "agents": world.agent_count,
                "actions": world.action_count,
                "horizon": world.horizon,
                "return_range": list(environment.return_range),
            },
            "returns": [
                _row("no attack", measurement.clean, measurement.clean),
                *attacks,
            ],
            "worst_returns": [float(value) for value in worst] if measurement.complete else [],
            "missing_attacks": [
                name for name in gate.observation_attacks if name not in measurement.attacked
            ],
            "episode_count": len(measurement.seeds),
            "data_digest": tensor_digest(first),
            "model_digest": self.classifier.state_digest(),
            "library_versions": library_versions(),
        }


def _row(title: str, episodes: Episodes, clean: Episodes) -> dict[str, Json]:
    """What came of all episodes under one attack."""
    decisions = int(episodes.decisions.sum())
    return {
        "title": title,
        "mean_return": float(episodes.returns.mean()),
        "success_rate": float(episodes.succeeded.double().mean()),
        "mean_length": float(episodes.lengths.double().mean()),
        "changed_decisions": int(episodes.changed.sum()) / decisions,
        "lowered": int((episodes.returns < clean.returns).sum()),
    }
