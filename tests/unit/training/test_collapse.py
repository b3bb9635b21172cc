"""The monitor of training collapse: its rule, its evidence, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fgmf.errors import InvalidInput
from fgmf.threat import ThreatModel
from fgmf.training.collapse import CollapseLimits, CollapseMonitor, watch_checkpoints

if TYPE_CHECKING:
    from pathlib import Path

THREAT = ThreatModel(norm="linf", epsilon=0.15)
IMAGES = torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 2


class Straight(nn.Module):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.last = nn.Linear(16, 2)
        nn.init.constant_(self.last.bias, scale)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(images).flatten(1))


def test_a_linear_model_has_no_gap_full_distortion_and_aligned_gradients() -> None:
    report = CollapseMonitor(threat=THREAT).observe(1, Straight(), IMAGES, LABELS)
    assert report.signals.gap == 0.0
    assert report.signals.distortion == pytest.approx(1.0, abs=1e-5)  # float32
    assert report.signals.alignment == pytest.approx(1.0, abs=1e-5)
    assert report.alarms == {}


def test_what_is_not_finite_is_an_alarm_at_once() -> None:
    report = CollapseMonitor(threat=THREAT).observe(3, Straight(float("nan")), IMAGES, LABELS)
    assert report.alarms == {"evidence": 3}


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at least one"):
        CollapseMonitor(threat=THREAT).observe(1, Straight(), IMAGES[:0], LABELS[:0])


def test_k_of_n_stands_and_survives_a_resume() -> None:
    limits = CollapseLimits(distortion=1.5, needed=2)
    first, second = (CollapseMonitor(threat=THREAT, limits=limits) for _ in range(2))
    assert first.observe(1, Straight(), IMAGES, LABELS).alarms == {}
    second.load_state_dict(first.state_dict())
    report = second.observe(2, Straight(), IMAGES, LABELS)
    assert report.alarms == {"distortion": 2}
    assert report.cost.forward_passes == 2 * 15 * 8


def test_what_left_the_window_does_not_count() -> None:
    """2 of the last 3: the first one is gone when the second comes."""
    monitor = CollapseMonitor(threat=THREAT)
    calm = monitor.observe(0, Straight(), IMAGES, LABELS).signals
    wild = replace(calm, gap=0.5)
    alarms = [monitor.judge(step, s).alarms for step, s in enumerate([wild, calm, calm, wild], 1)]
    assert alarms == [{}] * 4
    assert monitor.judge(5, wild).alarms == {"gap": 5}
    assert monitor.judge(6, calm).alarms == {"gap": 5}
    assert monitor.judge(7, calm).alarms == {}
    report = monitor.report
    assert report is not None
    assert report.first_alarm == 5


def test_the_passes_that_are_counted_are_made() -> None:
    model, seen = Straight(), []
    model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    report = CollapseMonitor(threat=THREAT).observe(1, model, IMAGES, LABELS)
    assert sum(seen) == report.cost.forward_passes


def test_the_model_and_the_draws_are_left_alone() -> None:
    model = Straight().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    draws = torch.get_rng_state()
    CollapseMonitor(threat=THREAT)(10, model, IMAGES, LABELS)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(draws, torch.get_rng_state())
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


ZEROS = torch.zeros(8, dtype=torch.long)
GREY = torch.full((8, 1, 4, 4), 0.5)


class Dip(nn.Module):
    """A loss that rises from the image for half of the ball, and falls in its outer half."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        away = (images.flatten(1).mean(dim=1) - 0.499).abs()
        height = -torch.minimum(away, 0.15 - away)
        return torch.stack([height, -height], dim=1)


def test_a_gradient_that_turns_within_the_ball_gives_a_third_of_the_distortion() -> None:
    signals = CollapseMonitor(threat=THREAT).observe(1, Dip(), GREY, ZEROS).signals
    # Signs that all turn: 2/3 - 1/3 of the way.
    assert signals.distortion == pytest.approx(1 / 3, abs=1e-5)
    assert signals.alignment == pytest.approx(-1.0, abs=1e-5)
    limits = CollapseLimits(gap=None, distortion=0.8, alignment=0.6, needed=1, window=1)
    report = CollapseMonitor(threat=THREAT, limits=limits).observe(1, Dip(), GREY, ZEROS)
    assert report.alarms == {"alignment": 1, "distortion": 1}


def test_a_series_of_checkpoints_is_watched_and_the_weights_come_back(tmp_path: Path) -> None:
    model = Straight()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    broken = {name: value * float("nan") for name, value in before.items() if "tracked" not in name}
    broken |= {name: value for name, value in before.items() if "tracked" in name}
    save_file(broken, tmp_path / "two.safetensors")
    monitor = CollapseMonitor(threat=THREAT)
    series = [(1, before), (2, tmp_path / "two.safetensors")]
    first, second = watch_checkpoints(monitor, model, series, IMAGES, LABELS)
    assert (first.alarms, second.alarms) == ({}, {"evidence": 2})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_checkpoints_out_of_order_none_or_of_another_model_are_refused(tmp_path: Path) -> None:
    model = Straight()
    state = model.state_dict()

    def watch(*series: tuple[int, object]) -> None:
        monitor = CollapseMonitor(threat=THREAT)
        watch_checkpoints(monitor, model, series, IMAGES, LABELS)  # type: ignore[arg-type] # wrong on purpose

    with pytest.raises(InvalidInput, match="at least one"):
        watch()
    with pytest.raises(InvalidInput, match="increase"):
        watch((2, state), (2, state))
    with pytest.raises(InvalidInput, match="at step 4"):
        watch((4, {"last.weight": torch.zeros(2, 3)}))
    with pytest.raises(InvalidInput, match="at step 5"):
        watch((5, tmp_path / "missing.safetensors"))
