"""Explanations, against slow ones that follow the papers pixel by pixel, channel by channel."""

from __future__ import annotations

import math

import pytest
import torch
from grid_models import SmallConv
from tiny_models import classify, make_images
from torch import nn
from torch.nn.functional import interpolate

from fgmf.attribution.activations import tapped
from fgmf.attribution.building import explainer
from fgmf.attribution.pgca_consensus import agree, attend
from fgmf.backbones import ViT, ViTConfig

TARGETS = torch.tensor([0, 1, 2])


def log_odds(logits: torch.Tensor, target: int) -> torch.Tensor:
    others = [logits[k].exp() for k in range(len(logits)) if k != target]
    return logits[target] - sum(others, torch.zeros(())).log()


def slow_grad_cam_plus_plus(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Equations 10 and 19 with the deviations that the module states, on (k, a, b)."""
    channels, height, width = activation.shape
    largest = max(float(g) ** 2 for g in gradient.flatten() if g > 0)
    total = torch.zeros(height, width, dtype=torch.float64)
    for k in range(channels):
        held = max(sum(float(a) for a in activation[k].flatten()), 0.0)
        weight = 0.0
        for g in gradient[k].flatten().tolist():
            if g > 0:
                alpha = g**2 / (2 * g**2 + held * g**3 + 1e-6 * largest)
                weight += alpha * g
        total += weight * activation[k]
    return total.clamp_min(0)


def test_grad_cam_plus_plus_is_that_of_the_paper() -> None:
    """In float64: sums in another order, 1e-16 relative, grown by min-max."""
    model, images = SmallConv(seed=3).double(), make_images(3, shape=(1, 12, 12)).double()
    method = explainer("grad-cam-plus-plus", {"layer": "4"})
    result = method.explain(classify(model), images, TARGETS)
    for i in range(3):
        with tapped(model[4]) as tap:
            score = log_odds(model(images[i : i + 1])[0], int(TARGETS[i]))
            kept = tap.take()
        (gradient,) = torch.autograd.grad(score, kept)
        coarse = slow_grad_cam_plus_plus(kept[0].detach(), gradient[0])
        large = interpolate(coarse[None, None], size=(12, 12), mode="bilinear")[0, 0]
        expected = (large - large.min()) / (large.max() - large.min())
        torch.testing.assert_close(result.maps[i], expected, rtol=1e-9, atol=1e-12)


def test_grad_cam_plus_plus_on_tokens_is_that_of_the_paper() -> None:
    """The class token dropped, the other tokens read row by row."""
    config = ViTConfig(image_side=12, patch_side=4, width=8, depth=2, heads=2, num_classes=3)
    model, images = ViT(config, seed=1).double(), make_images(3, shape=(1, 12, 12)).double()
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():  # so that no map is zero, as it can be on tokens
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data += 0.3 * noise
    result = explainer("grad-cam-plus-plus").explain(classify(model), images, TARGETS)
    assert result.parameters["layer"] == "blocks.0"
    for i in range(3):
        with tapped(model.blocks[0]) as tap:
            score = log_odds(model(images[i : i + 1])[0], int(TARGETS[i]))
            kept = tap.take()
        (gradient,) = torch.autograd.grad(score, kept)
        tokens, slopes = torch.zeros(8, 3, 3).double(), torch.zeros(8, 3, 3).double()
        for row in range(3):
            for column in range(3):
                tokens[:, row, column] = kept[0, 1 + 3 * row + column].detach()
                slopes[:, row, column] = gradient[0, 1 + 3 * row + column]
        coarse = slow_grad_cam_plus_plus(tokens, slopes)
        large = interpolate(coarse[None, None], size=(12, 12), mode="bilinear")[0, 0]
        expected = (large - large.min()) / (large.max() - large.min())
        torch.testing.assert_close(result.maps[i], expected, rtol=1e-9, atol=1e-12)


def test_grad_cam_and_layer_cam_are_those_of_the_papers() -> None:
    model, images = SmallConv(seed=4).double(), make_images(1, shape=(1, 12, 12)).double()
    with tapped(model[4]) as tap:
        score = log_odds(model(images)[0], 1)
        kept = tap.take()
    (gradient,) = torch.autograd.grad(score, kept)
    activation, slope = kept[0].detach(), gradient[0]
    plain, layered = torch.zeros(6, 6).double(), torch.zeros(6, 6).double()
    for k in range(8):
        plain += slope[k].sum() / 36 * activation[k]
        layered += slope[k].clamp_min(0) * activation[k]
    for name, coarse in (("grad-cam", plain), ("layer-cam", layered)):
        result = explainer(name, {"layer": "4"}).explain(classify(model), images, torch.tensor([1]))
        large = interpolate(coarse.clamp_min(0)[None, None], size=(12, 12), mode="bilinear")[0, 0]
        expected = (large - large.min()) / (large.max() - large.min())
        torch.testing.assert_close(result.maps[0], expected, rtol=1e-9, atol=1e-12)


def test_integrated_gradients_are_those_of_the_paper() -> None:
    """One step after the other, each gradient by autograd on its own."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 7), nn.Tanh(), nn.Linear(7, 3)).double()
    images, steps = make_images(2).double(), 9
    result = explainer("integrated-gradients", {"steps": steps}).explain(
        classify(model, batch_size=4), images, TARGETS[:2]
    )
    for i in range(2):
        mean = torch.zeros(1, 8, 8).double()
        for k in range(steps):
            point = (images[i] * ((k + 0.5) / steps)).requires_grad_()
            score = log_odds(model(point[None])[0], int(TARGETS[i]))
            mean += torch.autograd.grad(score, point)[0] / steps
        torch.testing.assert_close(
            result.maps[i], (images[i] * mean)[0].detach(), rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("side", [12, 13])
def test_the_first_stage_is_that_of_the_definition(side: int) -> None:
    """Cell by cell, with the zero fill; the noise fill is one whose draw is known: a constant
    image has no deviation, so its noise is the image itself and no cell of it drops."""
    model, grid = SmallConv(seed=5).double(), 5
    images = make_images(2, shape=(2, side, side)).double()
    model[0] = nn.Conv2d(2, 6, 3, padding=1).double()
    drops = torch.zeros(2, grid, grid).double()
    for i in range(2):
        clean = log_odds(model(images[i : i + 1])[0], int(TARGETS[i]))
        for row in range(grid):
            for column in range(grid):
                hidden = images[i].clone()
                top, bottom = math.floor(row * side / grid), math.floor((row + 1) * side / grid)
                left = math.floor(column * side / grid)
                right = math.floor((column + 1) * side / grid)
                hidden[:, top:bottom, left:right] = 0
                left_over = log_odds(model(hidden[None])[0], int(TARGETS[i]))
                drops[i, row, column] = (clean - left_over).detach()
    pgca = explainer("pgca", {"grid": grid}).explain(classify(model), images, TARGETS[:2])
    large = interpolate(drops[:, None], size=(side, side), mode="bilinear")[:, 0]
    torch.testing.assert_close(pgca.stages["zero-occlusion"], large, rtol=1e-9, atol=1e-12)
    cells = explainer("occlusion", {"grid": grid}).explain(classify(model), images, TARGETS[:2])
    for i in range(2):
        for y in range(side):
            for x in range(side):
                row = next(r for r in range(grid) if y < math.floor((r + 1) * side / grid))
                column = next(c for c in range(grid) if x < math.floor((c + 1) * side / grid))
                assert cells.maps[i, y, x] == pytest.approx(float(drops[i, row, column]), rel=1e-9)


def test_a_pixel_is_compared_with_its_surround() -> None:
    """The blur pixel by pixel, mirrored at the edges; a deviation of a fifth of the longer side."""
    generator = torch.Generator().manual_seed(1)
    images, around, along = (
        torch.rand(2, 2, 6, 5, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    deviation = 0.2 * 6
    reach = range(-math.ceil(3 * deviation), math.ceil(3 * deviation) + 1)
    weights = {step: math.exp(-0.5 * (step / deviation) ** 2) for step in reach}

    def mirrored(place: int, side: int) -> int:
        place %= 2 * side
        return place if place < side else 2 * side - 1 - place

    found = attend(images, around, along, path_share=0.25, surround=0.2)
    for i in range(2):
        for y in range(6):
            for x in range(5):
                expected = 0.0
                for c in range(2):
                    surround = (
                        sum(
                            weights[a]
                            * weights[b]
                            * images[i, c, mirrored(y + a, 6), mirrored(x + b, 5)]
                            for a in reach
                            for b in reach
                        )
                        / sum(weights.values()) ** 2
                    )
                    slope = 0.75 * around[i, c, y, x] + 0.25 * along[i, c, y, x]
                    expected += float((images[i, c, y, x] - surround) * slope)
                assert float(found[i, y, x]) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    flat = torch.full_like(images, 0.3)
    assert not attend(flat, around, along, path_share=0.25, surround=0.2).any()


def test_a_cell_gets_back_the_share_of_its_disagreement() -> None:
    """With share 1 the pixels of each cell add up to the cell; with 0 nothing moves."""
    generator = torch.Generator().manual_seed(0)
    evidence = torch.randn(2, 9, 7, generator=generator, dtype=torch.float64)
    cells = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
    whole = agree(evidence, cells, share=1.0, floor=0.02)
    half = agree(evidence, cells, share=0.5, floor=0.02)
    columns = [0, 2, 4, 7]
    for i in range(2):
        for row in range(3):
            for column in range(3):
                at = (i, slice(3 * row, 3 * row + 3), slice(columns[column], columns[column + 1]))
                assert float(whole[at].sum()) == pytest.approx(float(cells[i, row, column]))
                expected = (float(evidence[at].sum()) + float(cells[i, row, column])) / 2
                assert float(half[at].sum()) == pytest.approx(expected)
    assert torch.equal(agree(evidence, cells, share=0.0, floor=0.02), evidence)
