"""Teams that act: environments, attacks on what agents see, and the return that is left.

`environment` says what a world must offer, `gridworld` is one, `planning` its best moves, and
`imitation` teaches a team to make them. `joint` asks a team for its actions, `playing` plays
episodes, `observing` attacks observations (by name in `catalogue`, plain data), `measuring` takes
the worst case of each episode, `judging` holds it against thresholds.
Importing this package loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from fgmf.policies.catalogue import (
    DEFAULT_OBSERVATION_ATTACKS,
    OBSERVATION_ATTACKS,
    ObservationAttackName,
)

if TYPE_CHECKING:
    from fgmf.policies.environment import CheckedEnvironment, Environment, Step
    from fgmf.policies.gridworld import Gridworld
    from fgmf.policies.imitation import ImitationPlan, imitate
    from fgmf.policies.joint import JointPolicy, joint_policy
    from fgmf.policies.judging import PolicyThresholds, judge_policy
    from fgmf.policies.measuring import PolicyMeasurement, PolicyPlan, measure_policy
    from fgmf.policies.planning import JointPlanner

_HOMES = {
    "CheckedEnvironment": "environment",
    "Environment": "environment",
    "Gridworld": "gridworld",
    "ImitationPlan": "imitation",
    "JointPlanner": "planning",
    "JointPolicy": "joint",
    "PolicyMeasurement": "measuring",
    "PolicyPlan": "measuring",
    "PolicyThresholds": "judging",
    "Step": "environment",
    "imitate": "imitation",
    "joint_policy": "joint",
    "judge_policy": "judging",
    "measure_policy": "measuring",
}

__all__ = [
    "DEFAULT_OBSERVATION_ATTACKS",
    "OBSERVATION_ATTACKS",
    "CheckedEnvironment",
    "Environment",
    "Gridworld",
    "ImitationPlan",
    "JointPlanner",
    "JointPolicy",
    "ObservationAttackName",
    "PolicyMeasurement",
    "PolicyPlan",
    "PolicyThresholds",
    "Step",
    "imitate",
    "joint_policy",
    "judge_policy",
    "measure_policy",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"fgmf.policies.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'fgmf.policies' has no attribute {name!r}")
