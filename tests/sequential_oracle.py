"""The stopping rule of `fgmf.sequential`, computed again: backwards, over every count at once.

table = boundaries(...)      # at how many successes a sequence passes and fails
exact_rates(table, share)    # probability of each verdict, by walking all orders together
simulated(table, share)      # the same by drawing orders
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln
from scipy.stats import binom, hypergeom

_NEVER = 10**9


@dataclass(frozen=True, kw_only=True)
class Boundaries:
    """(m + 1,) each: at n outcomes, s >= passing[n] passes and s <= failing[n] fails."""

    passing: np.ndarray
    failing: np.ndarray
    population: int | None

    @property
    def horizon(self) -> int:
        return len(self.passing) - 1


def boundaries(
    *, threshold: float, horizon: int, confidence: float, population: int | None
) -> Boundaries:
    """The rule of a threshold and a horizon below the population."""
    alpha = 1 - confidence
    passing, failing = np.full(horizon + 1, _NEVER), np.full(horizon + 1, -1)
    null = threshold if population is None else math.ceil(threshold * population - 1e-9)
    for side in ("pass", "fail"):
        boundary = null
        if population is not None and side == "pass":
            boundary = null - 1
        chance = _critical_region(boundary, horizon, alpha / 2, population, side)
        for n in range(horizon, 0, -1):
            s = np.arange(n + 1)
            mixture = np.exp(-np.log(n + 1) - _log_mass(boundary, s, n, population).clip(-700))
            rejected = chance + alpha / 2 * mixture >= 1
            ahead = s / n > boundary / (population or 1)
            behind = s / n < boundary / (population or 1)
            if side == "pass" and (rejected & ahead).any():
                passing[n] = s[rejected & ahead].min()
            if side == "fail" and (rejected & behind).any():
                failing[n] = s[rejected & behind].max()
            before = np.arange(n)
            p = _next_success(boundary, before, n - 1, population)
            chance = p * chance[1:] + (1 - p) * chance[:-1]
    return Boundaries(passing=passing, failing=failing, population=population)


def exact_rates(table: Boundaries, share: float) -> tuple[float, float, np.ndarray]:
    """P(pass), P(fail), and P(decided by n) for every n, over all orders."""
    state = np.array([1.0])
    passed, failed = np.zeros(table.horizon + 1), np.zeros(table.horizon + 1)
    truth = share if table.population is None else round(share * table.population)
    for n in range(1, table.horizon + 1):
        p = _next_success(truth, np.arange(n), n - 1, table.population)
        state = np.append(state * (1 - p), 0.0) + np.insert(state * p, 0, 0.0)
        s = np.arange(n + 1)
        ends_well, ends_badly = s >= table.passing[n], s <= table.failing[n]
        passed[n], failed[n] = state[ends_well].sum(), state[ends_badly].sum()
        state[ends_well | ends_badly] = 0.0
    return passed.sum(), failed.sum(), (passed + failed).cumsum()


def simulated(table: Boundaries, share: float, *, orders: int, seed: int) -> tuple[float, float]:
    """Shares of orders that pass and that fail."""
    draws = np.random.default_rng(seed)
    if table.population is None:
        outcomes = draws.random((orders, table.horizon)) < share
    else:
        members = np.arange(table.population) < round(share * table.population)
        chosen = [draws.choice(members, table.horizon, replace=False) for _ in range(orders)]
        outcomes = np.array(chosen)
    counts = outcomes.cumsum(axis=1)
    ends_well, ends_badly = counts >= table.passing[1:], counts <= table.failing[1:]
    first = [np.where(e.any(axis=1), e.argmax(axis=1), _NEVER) for e in (ends_well, ends_badly)]
    return float((first[0] < first[1]).mean()), float((first[1] < first[0]).mean())


def _critical_region(
    boundary: float, horizon: int, level: float, population: int | None, side: str
) -> np.ndarray:
    """(m + 1,) 1.0 where the exact test of the fixed horizon rejects."""
    s = np.arange(horizon + 1)
    if population is None:
        law = binom(horizon, boundary)
    else:
        law = hypergeom(population, int(boundary), horizon)
    mass = law.pmf(s)
    tail = mass[::-1].cumsum()[::-1] if side == "pass" else mass.cumsum()
    return (tail <= level).astype(float)


def _log_mass(boundary: float, s: np.ndarray, n: int, population: int | None) -> np.ndarray:
    if population is None:
        return binom.logpmf(s, n, boundary)
    total, rest = boundary, population - boundary
    impossible = (s > total) | (n - s > rest)
    s = np.where(impossible, np.clip(s, max(0, n - rest), min(n, total)), s)
    logs = _log_choose(total, s) + _log_choose(rest, n - s) - _log_choose(population, n)
    return np.where(impossible, -np.inf, logs)


def _log_choose(n: float, k: np.ndarray | int) -> np.ndarray:
    return gammaln(n + 1) - gammaln(np.add(k, 1)) - gammaln(np.subtract(n, k) + 1)


def _next_success(boundary: float, s: np.ndarray, n: int, population: int | None) -> np.ndarray:
    """Probability that outcome n + 1 is a success after s among n."""
    if population is None:
        return np.full(len(s), boundary)
    return ((boundary - s) / (population - n)).clip(0.0, 1.0)
