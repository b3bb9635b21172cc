"""Two processes say about a team what one says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

GATES = """
schema = 1
[model]
factory = "shop:load"
bounds = [0, 1]
device = "cpu"
[data]
factory = "shop:data"
[[gate]]
name = "team"
kind = "robustness"
norm = "linf"
epsilon = 0.04
min_robust_accuracy = 0.3
attacks = [{ name = "pgd", steps = 5, restarts = 2 }]
"""
SHOP = """
import torch

from fgmf.agents import Agent, Team

class Edges(torch.nn.Module):
    def __init__(self, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        shared = torch.randn(3, 64, generator=torch.Generator().manual_seed(9))
        self.weight = torch.nn.Parameter(shared + torch.randn(3, 64, generator=generator) / 2)

    def forward(self, images):
        flat = images.flatten(1) - 0.5
        return (flat.unsqueeze(1) * self.weight).sum(dim=2)

def load():
    return Team([Agent(f"agent-{i}", Edges(i)) for i in range(3)], rule="median").eval()

def data():
    images = torch.rand(90, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return images, load()(images).argmax(dim=1)
"""
TORCHRUN = ("torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m")


def _verdict(directory: Path, *launcher: str) -> dict[str, Any]:
    environment = {key: value for key, value in os.environ.items() if key not in {"CI", "RANK"}}
    command = [sys.executable, "-m", *launcher, "fgmf", "check", "--report", "json:report.json"]
    done = subprocess.run(
        command,
        cwd=directory,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (verdict,) = json.loads((directory / "report.json").read_text())["verdicts"]
    return {key: value for key, value in verdict.items() if key not in {"cost", "reproduce"}}


def test_two_processes_say_what_one_says(tmp_path: Path) -> None:
    (tmp_path / "fgmf.toml").write_text(GATES)
    (tmp_path / "shop.py").write_text(SHOP)
    alone, together = _verdict(tmp_path), _verdict(tmp_path, *TORCHRUN)
    assert alone == together
    assert alone["outcome"] == "pass"
    assert alone["measured"] < 1
