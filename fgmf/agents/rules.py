"""Decision rules: from the agents' log-probabilities to the team's scores.

    mean-log-probability   mean over agents
    weighted               sum_i w_i log p_i,  w = softmax over the agents that are present
    majority               how many agents vote for the class
    median, trimmed-mean   sort over agents, class by class; mean of the middle
    learned                log sum_i g_i p_i,  g = softmax of a network on what agents say

Every rule takes log-probabilities (m, n, classes) of the agents that are present and which ones
they are. `catalogue.tolerated` says how many compromised agents each one stands.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol

import torch
from torch import nn

from fgmf.agents.catalogue import RULE_NAMES, default_trim
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fgmf.types import Logits

_SURE: Final = -30.0
"""Log-probabilities below say the same to the gate network: surely not this class."""


class DecisionRule(Protocol):
    """How a team decides: a module, so that what is trained travels with the team."""

    def __call__(self, log_probabilities: torch.Tensor, members: Sequence[int]) -> Logits:
        """Scores (n, classes) from log-probabilities (m, n, classes).

        Args:
            log_probabilities: Of the agents that are present; natural logarithm.
            members: Position in the team of each of the m.
        """


class MeanLogProbability(nn.Module):
    """The mean of log-probabilities: the geometric pool, up to a constant per image.

    One compromised agent that is sure enough decides: log-probabilities have no floor.
    """

    def forward(self, log_probabilities: torch.Tensor, members: Sequence[int]) -> Logits:
        """As :class:`DecisionRule` says."""
        del members
        return log_probabilities.mean(dim=0)


class Weighted(nn.Module):
    """The mean with one positive weight per agent, renewed over the agents that are present.

    Args:
        agent_count: Of the team.
        weights: One positive number per agent; None: equal. Training can change them.

    Raises:
        InvalidInput: Not one finite number above 0 per agent.
    """

    def __init__(self, agent_count: int, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        weights = [1.0] * agent_count if weights is None else list(weights)
        if len(weights) != agent_count or not all(0 < w < math.inf for w in weights):
            raise InvalidInput(
                f"expected weights as {agent_count} finite numbers above 0, got {weights}"
            )
        self.log_weights = nn.Parameter(torch.tensor([math.log(w) for w in weights]))

    def forward(self, log_probabilities: torch.Tensor, members: Sequence[int]) -> Logits:
        """As :class:`DecisionRule` says."""
        weights = self.log_weights[list(members)].to(log_probabilities.dtype).softmax(dim=0)
        return (weights[:, None, None] * log_probabilities).sum(dim=0)


class Majority(nn.Module):
    """A vote: the number of agents for each class. It has no gradient, and doesn't pretend to.

    Ties go to the lowest class. An agent that says NaN for an image has no vote there.
    """

    def forward(self, log_probabilities: torch.Tensor, members: Sequence[int]) -> Logits:
        """As :class:`DecisionRule` says; the scores are whole numbers."""
        del members
        classes = log_probabilities.shape[2]
        votes = nn.functional.one_hot(log_probabilities.argmax(dim=2), classes)
        valid = ~log_probabilities.isnan().any(dim=2, keepdim=True)
        return (votes * valid).sum(dim=0).to(log_probabilities.dtype)


class TrimmedMean(nn.Module):
    """Class by class, the mean of the log-probabilities without the lowest and highest ones.

    NaN counts as the highest. Scores are no log-probabilities of one distribution: they don't
    add up to one.

    Args:
        trim: How many to drop on each side; None: a quarter of the agents that are present, at
            least one of three or more. Where fewer agents are present, as many as leave one.

    Raises:
        InvalidInput: A negative number.

    Source: Yin et al., ICML 2018 (coordinate-wise trimmed mean and median); there of gradients,
        here of log-probabilities.
    """

    def __init__(self, trim: int | None = None) -> None:
        super().__init__()
        if trim is not None and (isinstance(trim, bool) or not isinstance(trim, int) or trim < 0):
            raise InvalidInput(f"expected trim as a whole number >= 0, got {trim!r}")
        self.trim = trim

    def forward(self, log_probabilities: torch.Tensor, members: Sequence[int]) -> Logits:
        """As :class:`DecisionRule` says."""
        del members
        count = len(log_probabilities)
        trim = default_trim(count) if self.trim is None else self.trim
        return _middle(log_probabilities, min(trim, (count - 1) // 2))


class Median(nn.Module):
    """Class by class, the median of the log-probabilities: the trimmed mean that drops the most.

    Of an even number of agents, the mean of the two in the middle.
    """

    def forward(self, log_probabilities: torch.Tensor, members: Sequence[int]) -> Logits:
        """As :class:`DecisionRule` says."""
        del members
        return _middle(log_probabilities, (len(log_probabilities) - 1) // 2)


class LearnedGate(nn.Module):
    """A mixture of the agents' probabilities; a small network says how much each agent counts.

    For each agent and image the network sees how sure the agent is (entropy, highest
    log-probability, lead over the second class) and how far it stands from the mean of all; so it
    works with any number of classes, and with agents missing. An agent that says NaN for an image
    is missing there.

    Args:
        agent_count: Of the team.
        hidden: Units of the hidden layer.
        seed: Fixes the first weights; at first all agents count the same.

    Source: mixture of experts (Jacobs et al. 1991), with the gate on outputs instead of inputs.
    """

    def __init__(self, agent_count: int, *, hidden: int = 16, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            last = nn.Linear(hidden, 1)
            self.network = nn.Sequential(nn.Linear(4, hidden), nn.Tanh(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.offsets = nn.Parameter(torch.zeros(agent_count))

    def forward(self, log_probabilities: torch.Tensor, members: Sequence[int]) -> Logits:
        """As :class:`DecisionRule` says."""
        gate = self.log_gate(log_probabilities, members)
        return (gate[:, :, None] + _without_nan(log_probabilities)).logsumexp(dim=0)

    def log_gate(self, log_probabilities: torch.Tensor, members: Sequence[int]) -> torch.Tensor:
        """(m, n): logarithm of the weight of each agent for each image; they add up to one."""
        weight = self.offsets.dtype
        valid = ~log_probabilities.isnan().any(dim=2)
        features = _features(_without_nan(log_probabilities), valid).to(weight)
        scores = self.network(features).squeeze(2) + self.offsets[list(members), None]
        there = scores.to(log_probabilities.dtype).masked_fill(~valid, -math.inf)
        log_gate: torch.Tensor = there.log_softmax(dim=0)
        return log_gate


def build_rule(rule: str | nn.Module, agent_count: int) -> nn.Module:
    """Return a rule by name with its defaults, or the module as it came.

    Raises:
        InvalidInput: There is no such rule, or it is neither a name nor a module.
    """
    if isinstance(rule, nn.Module):
        return rule
    makers: Mapping[str, type[nn.Module]] = {
        "mean-log-probability": MeanLogProbability,
        "majority": Majority,
        "median": Median,
        "trimmed-mean": TrimmedMean,
    }
    if rule == "weighted":
        return Weighted(agent_count)
    if rule == "learned":
        return LearnedGate(agent_count)
    if not isinstance(rule, str) or rule not in makers:
        raise InvalidInput(
            f"expected a rule of {', '.join(RULE_NAMES)}, or a torch.nn.Module, got {rule!r:.80}"
        )
    return makers[rule]()


def _middle(log_probabilities: torch.Tensor, trim: int) -> torch.Tensor:
    count = len(log_probabilities)
    return log_probabilities.sort(dim=0).values[trim : count - trim].mean(dim=0)


def _without_nan(log_probabilities: torch.Tensor) -> torch.Tensor:
    return log_probabilities.nan_to_num(nan=0.0, posinf=math.inf, neginf=-math.inf)


def _features(log_probabilities: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """(m, n, 4), each of about one: sureness of each agent, and its distance from the mean."""
    said = log_probabilities.clamp(min=_SURE)
    scale = math.log(said.shape[2])
    probabilities = said.exp()
    entropy = -(probabilities * said).sum(dim=2) / scale
    first, second = said.topk(2, dim=2).values.unbind(dim=2)
    mean = (said * valid[:, :, None]).sum(dim=0) / valid.sum(dim=0).clamp(min=1)[:, None]
    distance = (probabilities * (said - mean)).sum(dim=2)
    lead = (first - second) / scale
    return torch.stack([entropy, first.exp(), lead.tanh(), (distance / scale).tanh()], dim=2)
