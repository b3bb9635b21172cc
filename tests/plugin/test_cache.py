"""`--fgmf-cache`: real gates under pytest and pytest-xdist, the same reports at less cost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Project

MODEL = """
import torch

class Brightness(torch.nn.Module):
    def forward(self, images):
        above = 10 * (images.mean(dim=(1, 2, 3)) - 0.5)
        return torch.stack([-above, above], dim=1)

def model():
    return Brightness()

def data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(80) % 2
    noise = 0.05 * torch.randn(80, 1, 4, 4, generator=generator)
    return (0.3 + 0.4 * labels.reshape(-1, 1, 1, 1) + noise).clamp(0, 1), labels
"""
GATES = """
schema = 1
[model]
factory = "bright_shop:model"
bounds = [0, 1]
device = "cpu"
[data]
factory = "bright_shop:data"
"""
GATE = """
[[gate]]
name = "{name}"
kind = "robustness"
norm = "linf"
epsilon = {epsilon}
min_robust_accuracy = 0.5
waive = ["clean-accuracy-at-chance"]
"""


@pytest.fixture
def bright(bare_project: Project) -> Project:
    bare_project.write("bright_shop.py", MODEL)
    tables = [GATE.format(name=f"g{n}", epsilon=e) for n, e in enumerate((0.1, 0.15, 0.3))]
    bare_project.write("fgmf.toml", GATES + "".join(tables))
    return bare_project


def run(project: Project, *arguments: str) -> tuple[str, str, list[int]]:
    """The report less cost, the output, and the images that each gate took from the cache."""
    result = project.run("--fgmf-report", "json:r.json", *arguments)
    document: dict[str, Any] = json.loads((project.path / "r.json").read_text())
    taken = [verdict.pop("cost")["cached_images"] for verdict in document["verdicts"]]
    return json.dumps(document), result.stdout.str(), taken


def test_cold_and_warm_report_the_same_with_any_number_of_workers(bright: Project) -> None:
    plain, _, none = run(bright)
    cold, _, cold_taken = run(bright, "--fgmf-cache", "-n2")
    warm, output, warm_taken = run(bright, "--fgmf-cache", "-n2")
    assert plain == cold == warm
    assert none == cold_taken == [0, 0, 0]
    assert warm_taken == [80, 80, 80]
    assert "note:" not in output
    assert (bright.path / ".fgmf" / "cache").is_dir()


def test_the_configuration_can_ask_for_it_and_workers_say_what_is_damaged(
    bright: Project,
) -> None:
    bright.write("pytest.ini", "[pytest]\nfgmf_cache = true\n")
    plain, _, _ = run(bright, "-k", "g0", "-n1")
    (path,) = (bright.path / ".fgmf" / "cache").glob("*/*.npz")
    path.write_bytes(b"damaged")
    again, output, taken = run(bright, "-k", "g0", "-n1")
    assert again == plain
    assert taken == [0]
    assert f"note: g0: cache file {path.parent.name}/{path.name} is left aside" in output


def test_the_nightly_profile_says_that_it_uses_none(bright: Project) -> None:
    _, output, _ = run(bright, "--fgmf-cache", "--fgmf-profile", "nightly", "-k", "g0")
    assert "the cache is not used: profile nightly measures everything anew" in output
    assert not (bright.path / ".fgmf" / "cache").exists()


def test_anything_but_true_or_false_is_wrong_use(bright: Project) -> None:
    bright.write("pytest.ini", "[pytest]\nfgmf_cache = perhaps\n")
    result = bright.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*fgmf_cache*expected true or false, got 'perhaps'*"])


def test_the_fixture_uses_it_as_well(bright: Project) -> None:
    bright.write(
        "test_gate.py",
        """
        def test_robust(fgmf):
            fgmf.assert_robust(norm="linf", epsilon=0.1, min_robust_accuracy=0.5)
        """,
    )
    first = run(bright, "--fgmf-cache", "-k", "test_robust")
    second = run(bright, "--fgmf-cache", "-k", "test_robust")
    assert first[0] == second[0]
    assert (first[2], second[2]) == ([0], [80])
