"""What an environment of cooperating agents offers: many episodes at once, states as tensors.

An environment is a function of its state: `step` on the same states and actions gives the same
again, and a state is one row of a tensor. So episodes can be repeated, and an adversary can look
ahead by copying rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import torch

from fgmf.errors import FgmfError, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from fgmf.types import Bounds, Images


class Step(NamedTuple):
    """What a step leads to, for each of n episodes.

    Attributes:
        states: (n, ...) the next states.
        rewards: (n,) floating point, of the whole team.
        done: (n,) bool, True where the episode is over.
    """

    states: torch.Tensor
    rewards: torch.Tensor
    done: torch.Tensor


@runtime_checkable
class Environment(Protocol):
    """Many episodes of the same world, side by side.

    Attributes:
        agent_count: Agents that act at each step.
        action_count: Actions that each of them can choose from.
        horizon: Steps after which an episode is over at the latest.
        return_range: Lowest and highest sum of rewards that an episode can have.
    """

    agent_count: int
    action_count: int
    horizon: int
    return_range: tuple[float, float]

    def reset(self, seeds: Sequence[int]) -> torch.Tensor:
        """Return the first state of each episode: (n, ...); the seed alone decides it."""
        ...

    def observe(self, states: torch.Tensor) -> torch.Tensor:
        """Return what the agents see: (n, channels, h, w) floating point, within the bounds.

        The observations of all agents lie beside each other, as channels; each agent of a team
        takes its own.
        """
        ...

    def step(self, states: torch.Tensor, actions: torch.Tensor) -> Step:
        """Let the agents act: (n, ...) states and (n, agents) int64 actions."""
        ...

    def succeeded(self, states: torch.Tensor) -> torch.Tensor:
        """Say in which states the team's task is done: (n,) bool."""
        ...


@dataclass(frozen=True, kw_only=True)
class CheckedEnvironment:
    """An environment whose every answer is looked at before anybody believes it.

    Attributes:
        world: A user's.
        bounds: What observations must lie within.
    """

    world: Environment
    bounds: Bounds

    def __post_init__(self) -> None:
        """Look at what it says of itself.

        Raises:
            InvalidInput: It is no environment, or its numbers are none.
        """
        if not isinstance(self.world, Environment):
            got = type(self.world).__name__
            message = "expected an environment with agent_count, action_count, horizon, "
            message += f"return_range, reset, observe, step and succeeded, got {got}"
            raise InvalidInput(message)
        counts = {
            name: getattr(self.world, name) for name in ("agent_count", "action_count", "horizon")
        }
        wrong = [k for k, v in counts.items() if isinstance(v, bool) or not isinstance(v, int)]
        wrong += [k for k, v in counts.items() if k not in wrong and v < 1]
        if wrong:
            given = f"got {wrong[0]} = {counts[wrong[0]]!r}"
            raise InvalidInput(f"expected whole numbers >= 1 of the environment, {given}")
        lowest, highest = self.return_range
        if not -torch.inf < lowest < highest < torch.inf:
            message = "expected return_range as two finite numbers, the lower one first, got "
            raise InvalidInput(f"{message}{self.world.return_range!r}")

    @property
    def return_range(self) -> tuple[float, float]:
        """Lowest and highest return of an episode."""
        lowest, highest = self.world.return_range
        return float(lowest), float(highest)

    def reset(self, seeds: Sequence[int]) -> torch.Tensor:
        """Return the first states, the same at every call.

        Raises:
            InvalidInput: They are not one row per seed, or differ from call to call.
        """
        first, second = (
            _demanded(_asked(lambda: self.world.reset(seeds), "reset"), "reset", rows=len(seeds))
            for _ in range(2)
        )
        if first.shape != second.shape or not torch.equal(first, second):
            message = "expected reset to give the same states for the same seeds, got others; "
            raise InvalidInput(f"{message}draw from a generator that the seed fixes")
        return first

    def observe(self, states: torch.Tensor) -> Images:
        """Return observations (n, channels, h, w), float32, within the bounds.

        Raises:
            InvalidInput: They are not.
        """
        answer = _asked(lambda: self.world.observe(states), "observe")
        seen = _demanded(answer, "observe", rows=len(states)).detach().cpu().to(torch.float32)
        lower, upper = self.bounds
        if seen.ndim != 4 or not bool(((seen >= lower) & (seen <= upper)).all()):
            ends = f"[{float(seen.min()):.3g}, {float(seen.max()):.3g}]" if seen.numel() else "none"
            message = "expected observations (n, channels, h, w) within the bounds "
            raise InvalidInput(f"{message}{self.bounds}, got {tuple(seen.shape)} in {ends}")
        return seen

    def step(self, states: torch.Tensor, actions: torch.Tensor) -> Step:
        """Take a step.

        Raises:
            InvalidInput: Its parts are not one finite row per episode.
        """
        made: Any = _asked(lambda: self.world.step(states.clone(), actions.clone()), "step")
        try:
            following, rewards, done = made
        except (TypeError, ValueError):
            message = "expected step to return states, rewards and done"
            raise InvalidInput(f"{message}, got {type(made).__name__}") from None
        rows = len(states)
        following = _demanded(following, "step", rows=rows)
        for name, part in (("rewards", rewards), ("done", done)):
            if not isinstance(part, torch.Tensor) or part.shape != (rows,):
                shape = tuple(part.shape) if isinstance(part, torch.Tensor) else type(part).__name__
                raise InvalidInput(f"expected {name} of a step as ({rows},), got {shape}")
        rewards = rewards.detach().cpu().to(torch.float64)
        if not bool(rewards.isfinite().all()):
            raise InvalidInput("expected finite rewards, got NaN or infinity")
        return Step(following, rewards, done.detach().cpu().to(torch.bool))

    def succeeded(self, states: torch.Tensor) -> torch.Tensor:
        """Return (n,) bool.

        Raises:
            InvalidInput: It is no flag for each episode.
        """
        answer = _asked(lambda: self.world.succeeded(states), "succeeded")
        flags = _demanded(answer, "succeeded", rows=len(states))
        if flags.ndim != 1:
            raise InvalidInput(f"expected ({len(states)},) of succeeded, got {tuple(flags.shape)}")
        return flags.detach().cpu().to(torch.bool)


def _asked(ask: Callable[[], Any], what: str) -> Any:  # noqa: ANN401 - whatever it returns
    try:
        with torch.no_grad():
            return ask()
    except FgmfError:
        raise
    except Exception as error:
        message = f"expected the environment's {what} to answer, got {type(error).__name__}"
        raise InvalidInput(f"{message}: {error}") from error


def _demanded(value: object, what: str, *, rows: int) -> torch.Tensor:
    if not isinstance(value, torch.Tensor) or value.ndim == 0 or len(value) != rows:
        got = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        raise InvalidInput(f"expected a tensor with {rows} rows from {what}, got {got}")
    return value
