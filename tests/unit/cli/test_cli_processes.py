"""`torchrun -m fgmf check`: several processes share each gate, and say what one says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

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
name = "fixed"
kind = "robustness"
norm = "linf"
epsilon = 0.04
min_robust_accuracy = 0.6
attacks = ["fgsm", { name = "pgd", steps = 5, restarts = 2 }]
[[gate]]
name = "sequential"
kind = "robustness"
norm = "linf"
epsilon = 0.001
min_robust_accuracy = 0.5
sequential = true
attacks = ["pgd"]
"""
SHOP = """
import os
import torch

class Edges(torch.nn.Module):
    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(3, 64, generator=generator))

    def forward(self, images):
        flat = images.flatten(1) - 0.5
        return (flat.unsqueeze(1) * self.weight).sum(dim=2)

def load():
    return Edges().eval()

def data():
    other = os.environ.get("RANK", "0") == os.environ.get("OTHER_DATA_IN")
    generator = torch.Generator().manual_seed(2 if other else 1)
    images = torch.rand(150, 1, 8, 8, generator=generator)
    return images, Edges()(images).argmax(dim=1)
"""


def run(directory: Path, *launcher: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in {"CI", "RANK"}}
    environment |= {"OMP_NUM_THREADS": "1", **variables}
    command = [sys.executable, "-m", *launcher, "fgmf", "check", "--report", "json:report.json"]
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )


TORCHRUN = ("torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "fgmf.toml").write_text(GATES)
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


def verdicts(directory: Path) -> list[dict[str, Any]]:
    document = json.loads((directory / "report.json").read_text())
    return [
        {key: value for key, value in verdict.items() if key != "cost"}
        for verdict in document["verdicts"]
    ]


def headlines(output: str) -> list[str]:
    starts = ("FAIL fixed: ", "PASS sequential: ")
    return [line for line in output.splitlines() if line.startswith(starts)]


def test_two_processes_say_what_one_says_and_one_of_them_speaks(directory: Path) -> None:
    alone = run(directory)
    assert alone.returncode == 1, alone.stderr
    expected = verdicts(directory)
    assert [verdict["outcome"] for verdict in expected] == ["fail", "pass"]
    (directory / "report.json").unlink()
    together = run(directory, *TORCHRUN)
    assert together.returncode == 1
    assert verdicts(directory) == expected
    assert len(headlines(alone.stdout)) == 2
    assert headlines(together.stdout) == headlines(alone.stdout)


def test_processes_with_other_data_end_in_an_error(directory: Path) -> None:
    together = run(directory, *TORCHRUN, OTHER_DATA_IN="1")
    assert together.returncode == 1
    for verdict in verdicts(directory):
        assert verdict["outcome"] == "error"
        assert "process 1" in verdict["reason"]
