"""A real gate on a real (tiny) model through the plugin, and its evidence replayed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.test_report import without_cost

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

SHOP = """
import torch

def model(bias=8.0):
    layer = torch.nn.Linear(16, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.stack([torch.ones(16), -torch.ones(16)]))
        layer.bias.copy_(torch.tensor([-bias, bias]))
    return torch.nn.Sequential(torch.nn.Flatten(), layer).eval()

def data():
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(40, 1, 4, 4, generator=generator)
    images[:20] = images[:20] * 0.5 + 0.4
    images[20:] = images[20:] * 0.5 + 0.1
    return images, (images.flatten(1).mean(1) < 0.5).long()
"""

FILE = """
schema = 1
seed = 5
[model]
factory = "shop:model"
bounds = [0, 1]
arguments = { bias = 8.0 }
[data]
factory = "shop:data"
"""

GATE = """
[[gate]]
name = "%s"
kind = "robustness"
norm = "linf"
epsilon = %s
min_robust_accuracy = 0.5
images = "all"
population = "dataset"
attacks = ["fgsm", { name = "pgd", steps = 5 }]
"""


@pytest.fixture
def shop(bare_project: Project) -> Project:
    bare_project.write("shop.py", SHOP)
    bare_project.write("fgmf.toml", FILE + GATE % ("small", 0.001) + GATE % ("large", 0.3))
    return bare_project


def test_plain_spread_and_other_batch_sizes_agree(shop: Project) -> None:
    strict = ("-W", "error")
    plain = shop.run("--fgmf-report=json:plain.json", *strict)
    plain.assert_outcomes(passed=1, failed=1)
    plain.stdout.fnmatch_lines(
        ["robustness: 0.* (exact) < 0.50 required (worst of FGSM, PGD; Linf eps 0.3; n=40 of 40; *"]
    )
    spread = shop.run("--fgmf-report=json:spread.json", "--fgmf-batch-size=7", mode="-n2")
    spread.assert_outcomes(passed=1, failed=1)
    assert without_cost(shop.report("plain.json")) == without_cost(shop.report("spread.json"))
    assert shop.outcomes("plain.json") == {"large": "fail", "small": "pass"}


def test_evidence_is_replayed_and_nothing_else(shop: Project) -> None:
    shop.run()
    evidence = ".fgmf/failures/large"
    assert (shop.path / evidence / "repro.json").is_file()
    again = shop.run(f"--fgmf-replay={evidence}", "--fgmf-report=json:report.json")
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(
        [
            f"fgmf: replay of {evidence}, and nothing else",
            "*___ replay of large ___*",
            "replay: */* saved examples still break the model; the repeated attack breaks */* *",
            f"reproduce: pytest --fgmf-replay {evidence}",
        ]
    )
    (verdict,) = shop.report()["verdicts"]
    assert (verdict["gate"], verdict["kind"], verdict["outcome"]) == ("large", "replay", "fail")


def test_evidence_that_a_repaired_model_withstands_passes(shop: Project) -> None:
    near = FILE.replace("8.0", "10.0") + GATE.replace("0.5", "0.9") % ("near", 0.05)
    shop.write("fgmf.toml", near)
    shop.run().assert_outcomes(failed=1)
    shop.write("fgmf.toml", near.replace("10.0", "8.0"))
    result = shop.run("--fgmf-replay=.fgmf/failures/near", "--fgmf-report=json:report.json")
    result.assert_outcomes(passed=1)
    (verdict,) = shop.report()["verdicts"]
    assert verdict["measured"] == 1.0
    assert (verdict["evidence"]["still_broken"], verdict["evidence"]["broken_again"]) == (0, 0)


def test_evidence_of_a_gate_file_below_the_root_is_about_its_model(shop: Project) -> None:
    near = FILE.replace("8.0", "10.0") + GATE.replace("0.5", "0.9") % ("near", 0.05)
    shop.write("below/fgmf.toml", near)
    shop.write("below/shop_below.py", SHOP)
    path = shop.path / "below" / "fgmf.toml"
    path.write_text(path.read_text().replace("shop:", "shop_below:"))
    shop.run("below/fgmf.toml::near").assert_outcomes(failed=1)
    shop.run("--fgmf-replay=.fgmf/failures/near").assert_outcomes(failed=1)
    root = shop.run("--fgmf-replay=.fgmf/failures/near", "--fgmf-gatefile=fgmf.toml")
    root.assert_outcomes(passed=1)  # its model is a good one


def test_tampered_evidence_is_an_error(shop: Project) -> None:
    shop.run()
    record = shop.path / ".fgmf/failures/large/repro.json"
    record.write_text(record.read_text().replace('"large"', '"other"'))
    result = shop.run("--fgmf-replay=.fgmf/failures/large")
    result.assert_outcomes(errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("mode", ["", "-n2"])
def test_missing_evidence_is_a_usage_error(shop: Project, mode: str) -> None:
    result = shop.run("--fgmf-replay=nowhere", mode=mode)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()


def test_a_gate_in_a_test_agrees_with_itself_and_is_replayed(shop: Project) -> None:
    (shop.path / "fgmf.toml").unlink()
    shop.write(
        "conftest.py",
        """
        import pytest
        import fgmf
        import shop

        @pytest.fixture(scope="session")
        def fgmf_model(): return fgmf.Classifier(shop.model(), bounds=(0, 1))

        @pytest.fixture(scope="session")
        def fgmf_data(): return shop.data()
        """,
    )
    shop.write(
        "test_gate.py",
        """
        def test_gate(fgmf):
            fgmf.assert_robust(
                norm="linf", epsilon=0.3, min_robust_accuracy=0.5, images="all",
                population="dataset", attacks=["fgsm", {"name": "pgd", "steps": 5}],
            )
        """,
    )
    for name in ("a.json", "b.json"):
        result = shop.run(f"--fgmf-report=json:{name}")
        result.assert_outcomes(failed=1)
    assert without_cost(shop.report("a.json")) == without_cost(shop.report("b.json"))
    (evidence,) = (shop.path / ".fgmf" / "failures").iterdir()
    shop.run("--fgmf-replay", str(evidence)).assert_outcomes(failed=1)


def test_workers_share_the_threads(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    shop.write(
        "test_threads.py",
        """
        import os, pytest

        @pytest.mark.parametrize("n", range(4))
        def test_threads(fgmf, n):
            fgmf.classifier
            import torch
            assert torch.get_num_threads() == max(1, len(os.sched_getaffinity(0)) // 2)
        """,
    )
    shop.run("-k", "test_threads", mode="-n2").assert_outcomes(passed=4)
