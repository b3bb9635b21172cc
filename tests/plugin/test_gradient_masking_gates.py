"""Gradient-masking gates through the plugin: marker, headline, evidence, fixture."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

SHOP = """
import torch

class Pixels(torch.nn.Module):
    def __init__(self, cut=False):
        super().__init__()
        self.cut = cut

    def forward(self, images):
        seen = images.detach() if self.cut else images
        return seen.flatten(1) + 0 * images.sum()

def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(96, 1, 2, 2, generator=generator) * 0.8 + 0.1
    return images, images.flatten(1).argmax(dim=1)
"""
FILE = """
schema = 1

[[model]]
name = "open"
factory = "shop:Pixels"
bounds = [0, 1]

[[model]]
name = "cut"
factory = "shop:Pixels"
arguments = { cut = true }
bounds = [0, 1]

[data]
factory = "shop:data"

[[gate]]
name = "honest"
kind = "gradient-masking"
model = "open"
norm = "linf"
epsilon = 0.1

[[gate]]
name = "hidden"
kind = "gradient-masking"
model = "cut"
norm = "linf"
epsilon = 0.1
"""


def test_gates_fail_with_a_proof_and_pass_without(bare_project: Project) -> None:
    bare_project.write("shop.py", SHOP)
    bare_project.write("fgmf.toml", FILE)
    result = bare_project.run("-m", "gradient_masking", "-W", "error")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "gradient-masking: masked: robust accuracy 0.* under PGD-40 is 0.* allowed; blocked*",
            "naive attacks (robust accuracy they report, and what is left of it):",
            "  PGD-40 * fooled",
            "mechanisms:",
            "  blocked: *",
            "    remedy: *",
            "symptoms (* looked for):",
            "counter-attacks:",
            "FAIL * hidden * gradient-masking *<= 0.05*",
        ]
    )


def test_the_fixture_asserts_it(bare_project: Project) -> None:
    bare_project.write("shop.py", SHOP)
    bare_project.write("fgmf.toml", FILE)
    bare_project.write(
        "tests/test_gate.py",
        """
        import pytest

        @pytest.mark.parametrize("model", ["open", "cut"])
        def test_gate(fgmf, model):
            fgmf.assert_no_gradient_masking(norm="linf", epsilon=0.1, model=model)

        def test_wrong(fgmf):
            fgmf.assert_no_gradient_masking(norm="linf", epsilon=0.1, min_gap=2, model="open")
        """,
    )
    result = bare_project.run("tests/test_gate.py")
    result.assert_outcomes(passed=2, failed=2, errors=1)  # with the gates of the file
    result.stdout.fnmatch_lines(["gradient-masking: not measured: invalid gate: min_gap: *"])
