"""Metrics of explanations for one image, pixel by pixel as the papers say: slow and obvious.

`ask` gives the answer of the target class on an image (c, h, w). Maps are (h, w).
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Array = np.ndarray
    Ask = Callable[[Array], float]


def by_importance(values: Array) -> list[int]:
    """Positions, the largest value first, equal ones in their own order."""
    return sorted(range(len(values)), key=lambda at: (-values[at], at))


def area(curve: Sequence[float]) -> float:
    return sum((a + b) / 2 for a, b in itertools.pairwise(curve))


def correlation(one: Sequence[float], other: Sequence[float]) -> float:
    n = len(one)
    first, second = sum(one) / n, sum(other) / n
    top = sum((a - first) * (b - second) for a, b in zip(one, other, strict=True))
    bottom = math.sqrt(sum((a - first) ** 2 for a in one) * sum((b - second) ** 2 for b in other))
    return top / bottom


def spread(image: Array, saliency: Array) -> Array:
    """A map for every channel, flat."""
    return np.concatenate([saliency.reshape(-1) for _ in image])


def without(image: Array, positions: Sequence[int], values: Array) -> Array:
    changed = image.copy().reshape(-1)
    for position in positions:
        changed[position] = values.reshape(-1)[position]
    return changed.reshape(image.shape)


def groups(positions: Sequence[int], size: int) -> list[list[int]]:
    return [list(positions[at : at + size]) for at in range(0, len(positions), size)]


def flipping_curve(
    ask: Ask, image: Array, saliency: Array, fill: Array, *, step: int
) -> list[float]:
    curve, gone = [], []
    for group in groups(by_importance(spread(image, saliency)), step):
        gone += group
        curve.append(ask(without(image, gone, fill)))
    return curve


def shares(
    ask: Ask, image: Array, saliency: Array, fill: Array, *, steps: int, insert: bool
) -> float:
    """Deletion or insertion: pixels with all their channels."""
    pixels, curve = saliency.size, []
    order = by_importance(saliency.reshape(-1))
    for step in range(steps + 1):
        first = order[: round(step * pixels / steps)]
        gone = [pixel for pixel in order if (pixel in first) != insert]
        places = [pixel + channel * pixels for channel in range(len(image)) for pixel in gone]
        curve.append(ask(without(image, places, fill)))
    return area(curve) / steps


def region_drops(
    ask: Ask, image: Array, saliency: Array, fill: Array, *, side: int, regions: int
) -> list[float]:
    height, width = saliency.shape
    tops, lefts = (-height % side) // 2, (-width % side) // 2
    members: dict[tuple[int, int], list[int]] = {}
    for row in range(height):
        for column in range(width):
            block = (row + tops) // side, (column + lefts) // side
            members.setdefault(block, []).append(row * width + column)
    blocks = [members[block] for block in sorted(members)]
    sums = np.array([sum(saliency.reshape(-1)[at] for at in block) for block in blocks])
    drops, gone = [], []
    for block in by_importance(sums)[:regions]:
        gone += [at + c * height * width for c in range(len(image)) for at in blocks[block]]
        drops.append(ask(image) - ask(without(image, gone, fill)))
    return drops


def subset_correlation(
    ask: Ask, image: Array, saliency: Array, fill: Array, subsets: Array
) -> float:
    flat = spread(image, saliency)
    drops = [ask(image) - ask(without(image, subset, fill)) for subset in subsets]
    return correlation([sum(flat[at] for at in subset) for subset in subsets], drops)


def estimate(ask: Ask, image: Array, saliency: Array, fill: Array, *, step: int) -> float:
    flat = spread(image, saliency)
    parts = groups(by_importance(flat), step)
    drops = [ask(image) - ask(without(image, part, fill)) for part in parts]
    return correlation([sum(flat[at] for at in part) for part in parts], drops)


def idle_disagreement(
    ask: Ask, image: Array, saliency: Array, fill: Array, *, step: int, eps: float
) -> int:
    flat = np.abs(spread(image, saliency))
    flat = flat / flat.max()
    count = 0
    for part in groups(range(flat.size), step):
        effect = abs(ask(without(image, part, fill)) - ask(image)) < eps
        count += sum((flat[at] < eps) != effect for at in part)
    return count


def segment_area(ask: Ask, image: Array, saliency: Array, segments: Array) -> float:
    """IROF with the mean of what is left: the area over the curve of relative answers."""
    names = list(np.unique(segments))
    means = np.array([saliency[segments == name].mean() for name in names])
    changed, curve = image.copy(), []
    for at in by_importance(means):
        value = changed.mean()
        for channel in changed:
            channel[segments == names[at]] = value
        curve.append(ask(changed) / ask(image))
    return len(names) - area(curve)


def patch_infidelity(ask: Ask, image: Array, saliency: Array, fill: Array, *, side: int) -> float:
    """Patches go one after the other, in rows; images are padded evenly to whole patches."""
    height, width = saliency.shape
    tops, lefts = (-height % side) // 2, (-width % side) // 2
    changed, errors = image.copy(), []
    for top in range(-tops, height, side):
        for left in range(-lefts, width, side):
            rows = slice(max(top, 0), min(top + side, height))
            columns = slice(max(left, 0), min(left + side, width))
            changed[:, rows, columns] = fill[:, rows, columns]
            predicted = float((saliency * (image - changed)).sum())
            errors.append((ask(image) - ask(changed) - predicted) ** 2)
    return sum(errors) / len(errors)


def sufficiency(maps: Array, classes: Sequence[int], *, threshold: float) -> list[float]:
    """Among images with a similar map, the share that is of the same class."""
    flat = np.abs(maps.reshape(len(maps), -1))
    deviations = flat.std(axis=0)
    kept = [at for at in range(flat.shape[1]) if deviations[at] > 0]
    n = len(flat)
    distance = [
        [
            math.sqrt(sum(((flat[i, p] - flat[j, p]) / deviations[p]) ** 2 for p in kept))
            for j in range(n)
        ]
        for i in range(n)
    ]
    largest = max(max(row) for row in distance)
    scores = []
    for i in range(n):
        near = [j for j in range(n) if j != i and distance[i][j] <= threshold * largest]
        same = sum(classes[j] == classes[i] for j in near)
        scores.append(same / len(near) if near else 0.0)
    return scores


def imputed(image: Array, pixels: Sequence[int]) -> Array:
    """Each removed pixel is the weighted mean of its neighbours, all at once: dense equations."""
    _, height, width = image.shape
    weights = {(a, b): 1 / 12 if a and b else 1 / 6 for a in (-1, 0, 1) for b in (-1, 0, 1)}
    del weights[0, 0]
    number = {pixel: at for at, pixel in enumerate(pixels)}
    changed = image.copy()
    for channel in changed:
        left, right = np.zeros((len(pixels), len(pixels))), np.zeros(len(pixels))
        for pixel, at in number.items():
            row, column = divmod(pixel, width)
            for (down, across), weight in weights.items():
                r, c = row + down, column + across
                if not (0 <= r < height and 0 <= c < width):
                    continue
                left[at, at] += weight
                if r * width + c in number:
                    left[at, number[r * width + c]] -= weight
                else:
                    right[at] += weight * channel[r, c]
        channel.reshape(-1)[list(pixels)] = np.linalg.solve(left, right)
    return changed


def monotonicity(
    ask: Ask, image: Array, saliency: Array, *, step: int, draws: Callable[[int], Array]
) -> float:
    """Spearman's correlation of a step's sum with its mean squared change; `draws` makes fills."""
    flat = np.abs(spread(image, saliency))
    order = list(reversed(by_importance(flat)))
    sums, changes, number = [], [], 0
    samples = 3
    for part in groups(order, step):
        squares = []
        for _ in range(samples):
            squares.append((ask(without(image, part, draws(number))) - ask(image)) ** 2)
            number += 1
        sums.append(sum(flat[at] for at in part))
        changes.append(sum(squares) / samples)
    return correlation(ranks(sums), ranks(changes))


def ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1, equal values share the mean of theirs."""
    return [
        sum(other < value for other in values) + (1 + sum(other == value for other in values)) / 2
        for value in values
    ]
