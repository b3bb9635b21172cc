"""Removing pixels step by step: pixel flipping, deletion, insertion, regions, single steps.

stage[i, pixel] = the step in which pixel goes, by the map of image i
for every (image, step) pair, in full batches of the classifier:
    removed = stage <= step     (or == step: alone; or > step: put in instead of taken away)
    answer of the target class on the image with `removed` replaced

Pixels of equal value go in the order of rows; Quantus leaves that to an unstable sort.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from fgmf.faithfulness.subsets import pearson_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fgmf.faithfulness.task import MetricTask

    Floats = NDArray[np.float64]
    Whole = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Stages:
    """When each pixel goes.

    Attributes:
        stage: (n, c or 1, h, w) int64, the step that removes it.
        steps: The steps that are looked at.
        mode: Which pixels are away in step k: those up to k, k alone, or all beyond k.
    """

    stage: torch.Tensor
    steps: range
    mode: Literal["up-to", "alone", "beyond"] = "up-to"


def pixel_flipping(task: MetricTask) -> tuple[Floats, Floats]:
    """Remove features from the most important on; area under the answers.

    Returns:
        Scores (n,): the trapezoid area with steps of one, and the answers (n, steps).

    Source: Bach et al. (2015), as `quantus.PixelFlipping` with `return_auc_per_sample`.
    Cost: a forward pass per step and image.
    """
    ranks = _ranks(task.flat_maps(per_channel=True))
    stage = torch.from_numpy(ranks // task.features_in_step).reshape(task.explained.images.shape)
    curves = _answers(task, Stages(stage=stage, steps=range(int(stage.max()) + 1)))
    return trapezoid(curves), curves


def faithfulness_estimate(task: MetricTask) -> tuple[Floats, Floats]:
    """Remove each step's features alone; do drops follow the sums of the map?

    Returns:
        Scores (n,): Pearson's correlation of sums and drops, and the drops (n, steps).

    Source: Alvarez-Melis and Jaakkola (2018), as `quantus.FaithfulnessEstimate`.
    Cost: a forward pass per step and image, one more per image.
    """
    maps = task.flat_maps(per_channel=True)
    groups = _ranks(maps) // task.features_in_step
    steps = int(groups.max()) + 1
    stage = torch.from_numpy(groups).reshape(task.explained.images.shape)
    stages = Stages(stage=stage, steps=range(steps), mode="alone")
    drops = _untouched(task)[:, None] - _answers(task, stages)
    sums = np.zeros_like(drops)
    np.add.at(sums, (np.arange(len(maps))[:, None], groups), maps)
    return pearson_rows(sums, drops), drops


def deletion(task: MetricTask) -> tuple[Floats, Floats]:
    """Remove pixels from the most important on; mean answer on the way.

    Returns:
        Scores (n,) between 0 and 1: the trapezoid mean, and the answers (n, steps + 1), the
        first on the whole image.

    Source: Petsiuk et al. (2018).
    Cost: `steps` + 1 forward passes per image.
    """
    return _shares(task, mode="up-to")


def insertion(task: MetricTask) -> tuple[Floats, Floats]:
    """Put pixels in from the most important on; mean answer on the way.

    Returns:
        Scores (n,) between 0 and 1: the trapezoid mean, and the answers (n, steps + 1), the
        last on the whole image.

    Source: Petsiuk et al. (2018).
    Cost: `steps` + 1 forward passes per image.
    """
    return _shares(task, mode="beyond")


def region_perturbation(task: MetricTask) -> tuple[Floats, Floats]:
    """Remove square regions from the most important on; mean drop of the answer.

    Returns:
        Scores (n,): the mean over steps, and the drops (n, steps).

    Source: Samek et al. (2015), as `quantus.RegionPerturbation` in the order morf; the mean of
        its curve is their AOPC without the step that removes nothing.
    Cost: a forward pass per step and image, one more per image.
    """
    blocks = _blocks(task)
    maps = task.flat_maps(per_channel=False)
    sums = np.zeros((len(maps), int(blocks.max()) + 1))
    np.add.at(sums.T, blocks, maps.T)
    stage = torch.from_numpy(_ranks(sums)[:, blocks])
    height, width = task.explained.images.shape[-2:]
    steps = min(task.number("regions_evaluation"), sums.shape[1])
    stages = Stages(stage=stage.reshape(-1, 1, height, width), steps=range(steps))
    drops = _untouched(task)[:, None] - _answers(task, stages)
    return drops.mean(axis=1), drops


def non_sensitivity(task: MetricTask) -> tuple[Floats, Floats]:
    """Count features that the map calls idle and the model does not, or the other way round.

    Returns:
        Scores (n,), and the answers (n, steps) without each group of features.

    Source: Nguyen and Martinez (2020), as `quantus.NonSensitivity`, which takes one feature per
        step. Here the features of a group share its effect. Maps are divided by their own
        largest value, not by that of all maps.
    Cost: a forward pass per step and image, one more per image.
    """
    maps, eps = np.abs(task.flat_maps(per_channel=True)), float(task.parameters["eps"])
    idle = maps / maps.max(axis=1, keepdims=True) < eps
    groups = np.arange(maps.shape[1]) // task.features_in_step
    stage = torch.from_numpy(groups).reshape(1, *task.explained.images.shape[1:])
    steps = range(int(groups.max()) + 1)
    spread = stage.expand(len(maps), -1, -1, -1)
    curves = _answers(task, Stages(stage=spread, steps=steps, mode="alone"))
    without_effect = np.abs(curves - _untouched(task)[:, None]) < eps
    return (without_effect[:, groups] ^ idle).sum(axis=1).astype(np.float64), curves


def trapezoid(values: Floats) -> Floats:
    """Area under each row (n, steps), steps of one: what `numpy.trapz` was."""
    area: Floats = (values.sum(axis=1) - (values[:, 0] + values[:, -1]) / 2).astype(np.float64)
    return area


def _shares(task: MetricTask, *, mode: Literal["up-to", "beyond"]) -> tuple[Floats, Floats]:
    steps, pixels = task.number("steps"), task.pixel_count
    # How many pixels are away after k of the steps.
    away = np.round(np.arange(steps + 1) * pixels / steps).astype(np.int64)
    ranks = _ranks(task.flat_maps(per_channel=False))
    stage = torch.from_numpy(np.searchsorted(away, ranks, side="right").astype(np.int64))
    height, width = task.explained.images.shape[-2:]
    shaped = stage.reshape(-1, 1, height, width)
    curves = _answers(task, Stages(stage=shaped, steps=range(steps + 1), mode=mode))
    return trapezoid(curves) / steps, curves


def _ranks(values: Floats) -> Whole:
    """Place of each value in its row, the largest first."""
    order = np.argsort(-values, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(values.shape[1])[None], axis=1)
    return ranks


def _blocks(task: MetricTask) -> Whole:
    """The region that each pixel lies in (pixels,); what is over is shared by both sides."""
    size = task.number("patch_size")
    height, width = task.explained.images.shape[-2:]
    down, across = ((np.arange(side) + (-side % size) // 2) // size for side in (height, width))
    blocks: Whole = down[:, None] * (int(across.max()) + 1) + across[None]
    return blocks.reshape(-1)


def _untouched(task: MetricTask) -> Floats:
    images = task.explained.images
    return task.answers_to(len(images), lambda rows: (images[rows], rows))


def _answers(task: MetricTask, stages: Stages) -> Floats:
    """Answers (n, steps) on the images without the pixels of each step."""
    device, fill, count = task.classifier.device, task.fill, len(stages.steps)
    if fill is None:
        raise TypeError(f"{task.entry.name} removes pixels, so it takes a replacement")
    fill, stage = fill.to(device), stages.stage.to(device)
    numbers = torch.tensor(stages.steps, device=device)

    def make(variants: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows = variants // count
        there = rows.to(device)
        step = numbers[(variants % count).to(device)][:, None, None, None]
        mine = stage[there]
        if stages.mode == "alone":
            removed = mine == step
        else:
            removed = mine <= step if stages.mode == "up-to" else mine > step
        return fill.replace(there, removed), rows

    total = len(stages.stage) * count
    return task.answers_to(total, make).reshape(-1, count)
