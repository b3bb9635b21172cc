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
[[gate]]
name = "members"
kind = "team-robustness"
norm = "linf"
epsilon = 0.04
min_robust_accuracy = 0.1
max_transfer = 1.0
compromised = 1
min_compromised_accuracy = 0.1
min_compromised_robust_accuracy = 0.0
stale = 1
min_stale_accuracy = 0.1
suite = "quick"
agent_steps = 5
[[gate]]
name = "explained"
kind = "team-faithfulness"
explainer = "gradient-times-input"
metrics = [{ name = "deletion", max_score = 1.0 }]
max_disagreement = 0.6
images = 20
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


def _verdicts(directory: Path, *launcher: str) -> list[dict[str, Any]]:
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
    verdicts = json.loads((directory / "report.json").read_text())["verdicts"]
    left_out = {"cost", "reproduce"}
    return [{k: v for k, v in verdict.items() if k not in left_out} for verdict in verdicts]


def test_two_processes_say_what_one_says(tmp_path: Path) -> None:
    """Gates of teams alone do all their work in every process; the first one reports."""
    (tmp_path / "fgmf.toml").write_text(GATES)
    (tmp_path / "shop.py").write_text(SHOP)
    alone, together = _verdicts(tmp_path), _verdicts(tmp_path, *TORCHRUN)
    assert alone == together
    assert [verdict["outcome"] for verdict in alone] == ["pass"] * 3
    assert 0 < alone[0]["measured"] < 1
    assert 0 < alone[1]["measured"] < 1
