"""Mask layers for tests of logs, by name."""

from __future__ import annotations

import torch
from torch import nn

from fgmf.sgam import Sgam, SgamConfig, SgamLayer


def sgam(seed: int = 0) -> Sgam:
    torch.manual_seed(seed)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    config = SgamConfig(grid_side=3, width=4)
    return Sgam.wrap(backbone, channels=1, config=config, seed=seed)


def layer_for_spot_checks() -> SgamLayer:
    return SgamLayer(SgamConfig(grid_side=3, width=4), seed=5)
