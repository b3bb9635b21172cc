"""`fgmf diagnose`: the evidence as a table and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.cli.exits import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SHOP = """
import torch

class Pixels(torch.nn.Module):
    def forward(self, images):
        return images.flatten(1)

def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(64, 1, 2, 2, generator=generator) * 0.8 + 0.1
    return images, images.flatten(1).argmax(dim=1)
"""
FILE = """
schema = 1

[model]
factory = "diagnosed_shop:Pixels"
bounds = [0, 1]

[data]
factory = "diagnosed_shop:data"

[[gate]]
kind = "robustness"
norm = "linf"
epsilon = 0.05
min_robust_accuracy = 0.1
"""


def test_a_robustness_gate_is_examined_with_table_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fgmf.cli.checking import CheckRequest
    from fgmf.cli.diagnosing import run_diagnose

    (tmp_path / "diagnosed_shop.py").write_text(SHOP)
    (tmp_path / "fgmf.toml").write_text(FILE)
    request = CheckRequest(
        command="diagnose",
        path=tmp_path / "fgmf.toml",
        gates=("robustness/masking",),  # as the line that reproduces it says
        save_failures=False,
    )
    code = run_diagnose(request, pictures=tmp_path / "pictures")
    printed = capsys.readouterr().out
    assert code is ExitCode.PASSED
    assert "PASS robustness/masking: gradient-masking: clean: robust accuracy" in printed
    assert "gradient-untrue" in printed
    (picture,) = (tmp_path / "pictures").iterdir()
    assert picture.name == "robustness_masking.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_file_without_such_gates_is_wrong_use(tmp_path: Path) -> None:
    import pytest

    from fgmf.cli.checking import CheckRequest
    from fgmf.cli.diagnosing import run_diagnose
    from fgmf.cli.exits import WrongUse

    other = FILE.replace('"robustness"', '"corruption"').replace("min_robust", "min_corruption")
    other = other.replace('norm = "linf"\nepsilon = 0.05\n', "")
    (tmp_path / "fgmf.toml").write_text(other)
    with pytest.raises(WrongUse, match="expected a gate of kind gradient-masking or robustness"):
        run_diagnose(CheckRequest(path=tmp_path / "fgmf.toml"), pictures=None)
