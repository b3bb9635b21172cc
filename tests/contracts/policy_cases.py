"""How each public function of the policies that takes a classifier is run."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

import torch

from fgmf.gates import PolicyReturnGate, RunContext
from fgmf.gates.policy_return_check import check_policy_return
from fgmf.policies import Step, joint_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fgmf.classifier import Classifier

_MODULE: Any = types.ModuleType("policy_world_of_contracts")


class _World:
    """Two steps of one agent with three actions, seen as images of 8x8 pixels."""

    agent_count, action_count, horizon, return_range = 1, 3, 2, (0.0, 4.0)

    def reset(self, seeds: Sequence[int]) -> torch.Tensor:
        return torch.tensor([[seed % 97, 0] for seed in seeds])

    def observe(self, states: torch.Tensor) -> torch.Tensor:
        number = (7 * states[:, 0] + states[:, 1]).float()
        phases = number[:, None] + torch.arange(64) * (1 + number[:, None] % 5)
        return (0.5 + 0.3 * torch.sin(phases)).reshape(-1, 1, 8, 8)

    def step(self, states: torch.Tensor, actions: torch.Tensor) -> Step:
        following = states + torch.tensor([0, 1])
        return Step(following, actions[:, 0].double(), following[:, 1] >= self.horizon)

    def succeeded(self, states: torch.Tensor) -> torch.Tensor:
        return states[:, 0] % 2 == 0


_MODULE.make = _World
sys.modules["policy_world_of_contracts"] = _MODULE
_GATE = PolicyReturnGate(
    environment="policy_world_of_contracts:make",
    epsilon=0.05,
    min_return=0.0,
    episodes=6,
    steps=2,
    waive=("normalisation-missing", "too-few-images"),
)


def _asked(classifier: Classifier) -> None:
    policy = joint_policy(classifier, agent_count=1, action_count=3)
    with policy.classifier.guard():
        policy.decided(_World().observe(_World().reset(range(8))))


POLICY_CASES: dict[str, Callable[[Classifier], object]] = {
    "fgmf.gates.policy_return.PolicyReturnGate.check": _GATE.check,
    "fgmf.gates.policy_return_check.check_policy_return": lambda c: check_policy_return(
        _GATE, c, RunContext()
    ),
    "fgmf.policies.joint.joint_policy": _asked,
}
NOT_PLAYING = {
    "fgmf.gates.specification.ImagelessGate.check",  # a protocol
    "fgmf.policies.joint.JointPolicy.__init__",  # values only
}
