"""A small repository with a gate file, for tests of the command line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

from fgmf.cli.application import application

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHOP = '''
"""Dark images are class 0, bright ones class 1; 0.2 lie between each and the threshold."""

import torch


class Brightness(torch.nn.Module):
    def __init__(self, at):
        super().__init__()
        self.at = torch.nn.Parameter(torch.tensor(at))

    def forward(self, images):
        above = 10 * (images.mean(dim=(1, 2, 3)) - self.at)
        return torch.stack([-above, above], dim=1)


def load(at=0.5):
    return Brightness(at).eval()


def data(shift=0.0):
    generator = torch.Generator().manual_seed(0)
    noise = 0.05 * torch.randn(200, 1, 4, 4, generator=generator)
    labels = torch.arange(200) % 2
    images = 0.3 + 0.4 * labels.reshape(-1, 1, 1, 1) + noise
    return images - images.mean(dim=(1, 2, 3), keepdim=True) + 0.3 + 0.4 * labels.reshape(
        -1, 1, 1, 1
    ) + shift, labels


def no_weights():
    raise KeyError("weights.pt")
'''
HEAD = """\
schema = 1
seed = 7
[model]
factory = "cli_shop:load"
bounds = [0, 1]
device = "cpu"
[data]
factory = "cli_shop:data"
"""
PASSING = """
[[gate]]
name = "small"
kind = "robustness"
norm = "linf"
epsilon = 0.1
min_robust_accuracy = 0.5
"""
FAILING = """
[[gate]]
name = "large"
kind = "robustness"
norm = "linf"
epsilon = 0.3
min_robust_accuracy = 0.5
"""
UNDECIDED = """
[[gate]]
name = "few"
kind = "robustness"
norm = "linf"
epsilon = 0.1
images = 20
min_robust_accuracy = 0.9
"""
BROKEN_MODEL = HEAD.replace("cli_shop:load", "cli_shop:no_weights")


class Shop:
    """The repository, as working directory; its attributes are parts of a gate file."""

    source = SHOP
    head = HEAD
    passing = PASSING
    failing = FAILING
    undecided = UNDECIDED
    broken_model = BROKEN_MODEL

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, *parts: str) -> None:
        """Write the gate file."""
        (self.directory / "fgmf.toml").write_text("".join(parts))

    def write_source(self, source: str) -> None:
        """Replace the module with the factories."""
        sys.modules.pop("cli_shop", None)
        (self.directory / "cli_shop.py").write_text(source)

    def run(self, *arguments: str) -> Result:
        """Run a command in this process."""
        return CliRunner().invoke(application, arguments)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.chdir(tmp_path)
    made = Shop(tmp_path)
    made.write_source(SHOP)
    yield made
    sys.modules.pop("cli_shop", None)
