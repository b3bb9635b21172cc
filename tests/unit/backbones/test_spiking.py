"""The spiking network against neurons one by one, and its gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from fgmf.backbones import SpikingConfig, SpikingNet
from fgmf.datasets import Samples, digits
from fgmf.errors import InvalidInput
from fgmf.training import Schedule, StandardRecipe, train

CONFIG = SpikingConfig(image_side=8, widths=(3, 4), time_steps=5)


def make(**values: Any) -> SpikingNet:
    return SpikingNet(SpikingConfig(**{**vars(CONFIG), **values}), seed=1).double()


def images(count: int = 2) -> torch.Tensor:
    draws = torch.Generator().manual_seed(3)
    return torch.rand(count, 1, 8, 8, dtype=torch.float64, generator=draws)


def slow(model: SpikingNet, batch: torch.Tensor) -> torch.Tensor:
    """Neuron by neuron; pixels by how often they have spiked so far."""
    config, said = model.config, []
    for image in batch:
        states: list[torch.Tensor] = [torch.zeros(())] * len(model.layers)
        total = torch.zeros(config.num_classes, dtype=torch.float64)
        for t in range(1, config.time_steps + 1):
            signal = torch.zeros_like(image)
            for place in torch.cartesian_prod(torch.arange(8), torch.arange(8)).tolist():
                value = float(image[0, place[0], place[1]])
                signal[0, place[0], place[1]] = math.floor(value * t) - math.floor(value * (t - 1))
            for number, layer in enumerate(model.layers):
                state = config.leak * states[number] + layer(signal[None])[0].detach()
                spikes = torch.tensor([float(v > config.threshold) for v in state.flatten()])
                signal = spikes.double().view_as(state)
                states[number] = state - config.threshold * signal
            total += model.head(signal.flatten()[None])[0].detach()
        said.append(total / config.time_steps)
    return torch.stack(said)


def test_forward_against_neurons_one_by_one() -> None:
    model = make(threshold=0.3)  # so that many spike
    torch.testing.assert_close(model(images()).detach(), slow(model, images()), atol=1e-12, rtol=0)


def test_pixels_spike_as_often_as_they_are_bright() -> None:
    model = make(time_steps=8)
    pixels = torch.arange(64).view(1, 1, 8, 8) / 63
    counts = sum(model._coded(pixels, step) for step in range(1, 9))
    assert torch.equal(counts, torch.floor(pixels * 8 + 1e-4))


def test_poisson_draws_anew_and_means_the_pixel() -> None:
    model = make(coding="poisson", threshold=0.3)
    torch.manual_seed(0)
    assert not torch.equal(model(images()), model(images()))
    pixels = torch.full((1, 1, 8, 8), 0.3, dtype=torch.float64)
    drawn = torch.stack([model._coded(pixels, 1) for _ in range(200)])
    assert set(drawn.unique().tolist()) <= {0.0, 1.0}
    # 12 800 draws: three standard errors of a share of 0.3.
    assert drawn.mean().item() == pytest.approx(0.3, abs=3 * math.sqrt(0.21 / 12_800))


def test_a_spike_counts_backward_as_an_arctan() -> None:
    """One neuron, one step: the slope of arctan(pi slope (v - threshold) / 2) / pi."""
    from fgmf.backbones.spiking import _Spike

    above = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(_Spike.apply(above, 2.0).sum(), above)
    smooth = (torch.atan(math.pi / 2 * 2.0 * above) / math.pi).sum()
    (expected,) = torch.autograd.grad(smooth, above)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_pixels_and_weights_have_gradients() -> None:
    model, batch = make(threshold=0.3), images().requires_grad_()
    model(batch).square().sum().backward()
    assert batch.grad is not None
    assert bool((batch.grad != 0).any())
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in model.parameters())


def test_it_learns() -> None:
    model = SpikingNet(SpikingConfig(image_side=8, widths=(16,), time_steps=4, threshold=0.5))
    samples, test = digits("train"), digits("test")
    some = Samples(images=samples.images[:600], labels=samples.labels[:600])
    schedule = Schedule(epochs=6, batch_size=32, peak_learning_rate=1e-2)
    train(model, some, StandardRecipe(schedule=schedule))
    with torch.no_grad():
        right = (model(test.images).argmax(dim=1) == test.labels).float().mean()
    assert float(right) > 0.75


@pytest.mark.parametrize(
    "values",
    [{"coding": "latency"}, {"leak": 1.5}, {"threshold": 0.0}, {"time_steps": 0}, {"slope": 0.0}],
    ids=str,
)
def test_refusals(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        make(**values)
