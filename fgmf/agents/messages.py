"""Messages between agents: fixed size, over a stated topology, for a stated number of rounds.

    states = log-softmax of the agents' logits                                  (a, n, classes)
    for each round:
        message of sender s   = tanh(encode_s states_s)                         in (-1, 1)
        for each edge s -> r:   tampering may replace it
                                received = message * saliency mask of the message
        states_r += decode_r (mean of what r received)
    offer everything that was received, with its masks, to the hooks

What one round adds to a log-probability is at most the sum of a row of |decode_r|, whatever is
received: a compromised sender moves a receiver within that. At first `decode` is zero, so that new
message passing changes nothing until it is trained.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Topology = Literal["complete", "ring", "star"]

_LOWEST: Final = -15.0
"""Log-probabilities below say the same in a message."""
_SMALLEST_FLOOR: Final = 0.02


class Tampering(Protocol):
    """Someone who writes into messages on their way."""

    def __call__(self, round_number: int, messages: torch.Tensor) -> torch.Tensor:
        """Return what arrives of what was sent, (e, n, size) in [-1, 1], as `edges` are ordered."""


@dataclass(frozen=True, kw_only=True)
class MessageSettings:
    """Who tells whom how much, and how often.

    Attributes:
        size: Numbers in a message.
        topology: ``complete`` (everyone tells everyone else), ``ring`` (each the next one),
            ``star`` (the first and all others tell each other), or pairs (sender, receiver).
        rounds: How often; the second time, agents tell what they made of the first.
        m_min: Floor of the saliency mask on messages, from 0.02 to 1; 1 dims nothing.
    """

    size: int = 8
    topology: Topology | tuple[tuple[int, int], ...] = "complete"
    rounds: int = 1
    m_min: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what makes no messages.

        Raises:
            InvalidInput: A size or number of rounds below 1, or a floor outside its range.
        """
        for name in ("size", "rounds"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InvalidInput(f"expected {name} as a whole number above 0, got {value!r}")
        if not _SMALLEST_FLOOR <= self.m_min <= 1:
            raise InvalidInput(f"expected m_min from {_SMALLEST_FLOOR} to 1, got {self.m_min!r}")

    def edges(self, agent_count: int) -> tuple[tuple[int, int], ...]:
        """Pairs (sender, receiver) among so many agents, in order.

        Raises:
            InvalidInput: A pair that names no two agents, or one twice; an unknown topology.
        """
        everyone = range(agent_count)
        if self.topology == "complete":
            return tuple((s, r) for s in everyone for r in everyone if s != r)
        if self.topology == "ring":
            return tuple((s, (s + 1) % agent_count) for s in everyone if agent_count > 1)
        if self.topology == "star":
            return tuple(pair for s in everyone[1:] for pair in ((0, s), (s, 0)))
        if isinstance(self.topology, str):
            raise InvalidInput(
                "expected a topology of complete, ring, star, or pairs (sender, receiver), "
                f"got {self.topology!r:.80}"
            )
        pairs = tuple((int(s), int(r)) for s, r in self.topology)
        good = all(s != r and {s, r} <= set(everyone) for s, r in pairs)
        if not good or len(set(pairs)) < len(pairs):
            raise InvalidInput(
                f"expected distinct pairs (sender, receiver) of different agents below "
                f"{agent_count}, got {pairs}"
            )
        return pairs


@dataclass(frozen=True, kw_only=True, eq=False)
class MessageRecord:
    """All messages of one decision, as they arrived, with the masks on them.

    A mask log takes it as it takes a layer's saliency mask: rounds and edges are its channels.

    Attributes:
        inputs: (n, rounds * edges, 1, size): received, before the mask; round by round. Zero on
            edges of agents that are missing.
        saliency_mask: The same shape.
        edges: Pairs (sender, receiver), in the order of the channels of one round.
        rounds: How many there were.
        m_min: Floor of the masks.
        purpose: ``forward``.
        training: Whether the module was in training mode.
    """

    inputs: torch.Tensor
    saliency_mask: torch.Tensor
    edges: tuple[tuple[int, int], ...]
    rounds: int
    m_min: float
    purpose: Literal["forward"] = field(default="forward", init=False)
    training: bool


class MessagePassing(nn.Module):
    """What agents tell each other before their team decides.

    Args:
        agent_count: Of the team.
        num_classes: Of every agent.
        settings: Size, topology, rounds, floor of the mask.
        seed: Fixes the first weights; the global generator is left alone.

    Attributes:
        edges: Pairs (sender, receiver), by position in the team.

    Raises:
        InvalidInput: Settings that don't fit the team.

    Source: reconstruction; the document says that agents cooperate and that their masks are logged,
        not how they talk. Differentiable messages: Sukhbaatar et al., NeurIPS 2016 (CommNet); here
        agents tell their beliefs, because that is what all backbones have in common.
    Cost: no pass of an agent; edges * rounds products of classes x size.
    """

    def __init__(
        self,
        agent_count: int,
        num_classes: int,
        *,
        settings: MessageSettings | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.settings = settings = settings or MessageSettings()
        self.agent_count, self.num_classes = agent_count, num_classes
        self.edges = settings.edges(agent_count)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            scale = (num_classes * 4) ** -0.5
            self.encode = nn.Parameter(scale * torch.randn(agent_count, num_classes, settings.size))
            self.salience = nn.Linear(settings.size, settings.size)
        self.decode = nn.Parameter(torch.zeros(agent_count, settings.size, num_classes))
        self._listeners: OrderedDict[int, Callable[[MessageRecord], None]] = OrderedDict()

    def forward(
        self,
        agent_logits: torch.Tensor,
        members: Sequence[int] | None = None,
        *,
        tampering: Tampering | None = None,
    ) -> torch.Tensor:
        """Logits (a, n, classes) before messages to log-probabilities and what messages add.

        Args:
            agent_logits: A row per agent of the team.
            members: Agents that are present; the rows of others are not read, and come back as 0.
            tampering: Replaces messages; None: they arrive as they were sent.

        Raises:
            InvalidInput: Another shape, or tampering that returns another shape or leaves [-1, 1].
        """
        self._check(agent_logits)
        present = tuple(range(self.agent_count)) if members is None else tuple(members)
        states = self._states(agent_logits, present)
        received: list[tuple[torch.Tensor, torch.Tensor]] = []
        mix = self._mix(present, states)
        for number in range(self.settings.rounds):
            messages = self.sent(states) * (mix.sum(dim=0)[:, None, None] > 0)
            if tampering is not None:
                messages = _tampered(tampering, number, messages)
            saliency_mask = self.saliency_mask(messages)
            heard = torch.einsum("re,end->rnd", mix, messages * saliency_mask)
            states = states + torch.einsum("rnd,rdk->rnk", heard, self.decode.to(states.dtype))
            received.append((messages, saliency_mask))
        if len(self._listeners) > 0:
            _outside_compiled_code(self._offer, received)
        return states

    def sent(self, states: torch.Tensor) -> torch.Tensor:
        """Messages (e, n, size) in (-1, 1) that agents in `states` (a, n, classes) send.

        Of NaN they send zeros, so that others are not silenced.
        """
        said = states.clamp(min=_LOWEST)
        sums = torch.einsum("ank,akd->and", said, self.encode.to(states.dtype))
        messages = sums.tanh().nan_to_num(nan=0.0)
        return messages[[sender for sender, _ in self.edges]]

    def saliency_mask(self, messages: torch.Tensor) -> torch.Tensor:
        """Mask in [m_min, 1] of messages (e, n, size), which dims what is salient in them."""
        floor = self.settings.m_min
        if floor == 1:
            return torch.ones_like(messages)
        weights = self.salience.weight.dtype
        predicted: torch.Tensor = self.salience(messages.to(weights)).sigmoid()
        return 1 - (1 - floor) * predicted.to(messages.dtype)

    def register_saliency_mask_hook(self, hook: Callable[[MessageRecord], None]) -> RemovableHandle:
        """Offer the messages of every decision from now on to `hook`.

        Args:
            hook: Called once per decision with a :class:`MessageRecord`; what it raises leaves the
                forward pass. Copies of the module have no hooks.

        Returns:
            A handle with `remove()`, which is also a context manager.
        """
        handle = RemovableHandle(self._listeners)
        self._listeners[handle.id] = hook
        return handle

    def extra_repr(self) -> str:
        """Number of agents and settings."""
        return f"{self.agent_count}, {self.num_classes}, settings={self.settings}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_listeners": OrderedDict()}

    def _states(self, agent_logits: torch.Tensor, present: tuple[int, ...]) -> torch.Tensor:
        """Log-probabilities; 0 for agents that are missing."""
        dtype = torch.float64 if agent_logits.dtype == torch.float64 else torch.float32
        if len(present) == self.agent_count:
            return agent_logits.to(dtype).log_softmax(dim=2)
        states = torch.zeros_like(agent_logits, dtype=dtype)
        states[list(present)] = agent_logits[list(present)].to(dtype).log_softmax(dim=2)
        return states

    def _mix(self, present: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        """(a, e): for each receiver the weight of each edge, a mean over those that are alive."""
        there = set(present)
        alive = [(s in there and r in there, r) for s, r in self.edges]
        rows = [
            [float(yes and r == agent) for yes, r in alive] for agent in range(self.agent_count)
        ]
        rows = [[cell / max(1.0, sum(row)) for cell in row] for row in rows]
        return torch.tensor(rows, dtype=like.dtype, device=like.device).view(
            self.agent_count, len(self.edges)
        )

    def _offer(self, received: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        inputs, masks = (
            torch.cat([pair[i].detach() for pair in received]).transpose(0, 1).unsqueeze(2)
            for i in (0, 1)
        )
        record = MessageRecord(
            inputs=inputs.contiguous(),
            saliency_mask=masks.contiguous(),
            edges=self.edges,
            rounds=self.settings.rounds,
            m_min=self.settings.m_min,
            training=self.training,
        )
        for hook in list(self._listeners.values()):
            hook(record)

    def _check(self, agent_logits: torch.Tensor) -> None:
        expected = (self.agent_count, self.num_classes)
        if agent_logits.ndim != 3 or (agent_logits.shape[0], agent_logits.shape[2]) != expected:
            raise InvalidInput(
                f"expected logits of shape ({self.agent_count}, n, {self.num_classes}), "
                f"got {tuple(agent_logits.shape)}"
            )


def _tampered(tampering: Tampering, number: int, messages: torch.Tensor) -> torch.Tensor:
    changed = tampering(number, messages)
    if changed.shape != messages.shape or not bool((changed.detach().abs() <= 1).all()):
        raise InvalidInput(
            f"expected tampered messages of shape {tuple(messages.shape)} within [-1, 1], "
            f"got {tuple(changed.shape)}"
        )
    return changed


def _call(function: Callable[..., None], *arguments: object) -> None:
    function(*arguments)


_outside_compiled_code: Final = torch.compiler.disable(_call)
"""A hook is Python, in compiled code too."""
