"""The guides: every command, snippet and table on them is run, recomputed or looked up."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from scipy.stats import binom

from fgmf.classifier import Classifier
from fgmf.gatefile import load_gate_file
from fgmf.statistics import binomial_interval

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def snippets(page: str, language: str) -> list[str]:
    found = FENCE.findall((DOCS / page).read_text())
    return [code for name, code in found if name == language]


def run(command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a documented command with this Python."""
    tool, *rest = command.split()
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    return subprocess.run(
        [sys.executable, "-m", tool, *rest],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def alike(said: str, documented: str) -> bool:
    """The same but for seconds, and shares that another build of torch may move a little."""
    numbers = re.compile(r"\d+\.\d+")
    words = [re.sub(r"\s+", " ", numbers.sub("N", line)).strip() for line in (said, documented)]
    values = [[float(v) for v in numbers.findall(line)] for line in (said, documented)]
    shares = [[v for v in row if v < 1] for row in values]
    close = all(abs(a - b) <= 0.03 for a, b in zip(*shares, strict=False))
    return words[0] == words[1] and close


def test_the_path_of_a_stranger(tmp_path: Path) -> None:
    """Files and commands of the quick start, from an empty directory to two verdicts."""
    (source,) = snippets("quick-start.md", "python")
    (tmp_path / source.splitlines()[0].removeprefix("# ")).write_text(source)
    transcripts = snippets("quick-start.md", "console")
    assert len(transcripts) == 3
    for at, transcript in enumerate(transcripts):
        command, *lines = transcript.splitlines()
        if at == 2:
            gates = tmp_path / "fgmf.toml"
            text = gates.read_text()
            assert "min_robust_accuracy = 0.5 " in text
            gates.write_text(
                text.replace("min_robust_accuracy = 0.5 ", "min_robust_accuracy = 0.3 ")
            )
        done = run(command.removeprefix("$ "), tmp_path)
        assert done.returncode == (1 if at == 1 else 0), done.stdout + done.stderr
        said = done.stdout.replace(f"{tmp_path}/", "").splitlines()
        for line in lines:
            assert any(alike(each, line) for each in said), f"{line}\n{done.stdout}"
        broken = tmp_path / ".fgmf/failures/robust-linf/broken.png"
        assert broken.exists() is (at == 1)


def test_the_power_table_is_exact() -> None:
    for count in (100, 200, 500, 1000, 2000, 5000):
        low, high = 0, count
        while low < high:  # fewest right images whose interval lies at or above the bar
            middle = (low + high) // 2
            inside = binomial_interval(middle, count, confidence=0.95).lower >= 0.5
            low, high = (low, middle) if inside else (middle + 1, high)
        interval = binomial_interval(count // 2, count, confidence=0.95)
        shares = (float(binom.sf(low - 1, count, 0.5 + d)) for d in (0.02, 0.05, 0.10, 0.15))
        half = (interval.upper - interval.lower) / 2
        row = f"| {count} | {half:.3f} | " + " | ".join(f"{share:.2f}" for share in shares) + " |"
        assert row in (DOCS / "choosing.md").read_text(), row


def test_every_kind_of_gate_is_in_the_how_to(tmp_path: Path) -> None:
    from fgmf.gates import _OWN_KINDS

    (whole,) = [code for code in snippets("how-to.md", "toml") if "schema = 1" in code]
    (tmp_path / "fgmf.toml").write_text(whole)
    gates = load_gate_file(tmp_path / "fgmf.toml", profile="default").gates
    assert {str(getattr(gate, "kind", "")) for gate in gates} == set(_OWN_KINDS)


@pytest.mark.parametrize("at", range(3))
def test_models_of_the_how_to_are_valid_tables(tmp_path: Path, at: int) -> None:
    tables = [code for code in snippets("how-to.md", "toml") if "schema = 1" not in code]
    rest = '[data]\nfactory = "s:d"\n[[gate]]\nkind = "corruption"\nmin_corruption_accuracy = 0.1\n'
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "shop.onnx").touch()
    (tmp_path / "fgmf.toml").write_text(f"schema = 1\n{tables[at]}\n{rest}")
    assert load_gate_file(tmp_path / "fgmf.toml", profile="default").gates


class HubModel(torch.nn.Module):
    """Returns an object with logits, as models of the hub do."""

    def forward(self, images: torch.Tensor) -> Any:
        return types.SimpleNamespace(loss=None, logits=images.flatten(1)[:, :3])

    @classmethod
    def from_pretrained(cls, name: str) -> HubModel:
        assert name
        return cls()


class LightningLike(torch.nn.Module):
    """A module with the constructor that Lightning gives."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :3]

    @classmethod
    def load_from_checkpoint(cls, path: str, *, map_location: str) -> LightningLike:
        assert (path, map_location) == ("weights/shop.ckpt", "cpu")
        return cls()


def test_loaders_of_the_how_to_give_models_that_can_be_gated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The packages themselves are not installed here: stand-ins have their interfaces."""
    hub: Any = types.ModuleType("transformers")
    hub.AutoModelForImageClassification = HubModel
    shop: Any = types.ModuleType("shop.training")
    shop.ShopModule = LightningLike
    for name, module in (("transformers", hub), ("shop", types.ModuleType("shop"))):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "shop.training", shop)
    loaders = snippets("how-to.md", "python")
    assert len(loaders) == 2
    for code in loaders:
        names: dict[str, Callable[[], Any]] = {}
        exec(code, names)  # noqa: S102 - our own document
        classifier = Classifier(names["load"](), bounds=(0, 1), device="cpu")
        assert classifier.logits_in_batches(torch.rand(2, 1, 4, 4)).shape == (2, 3)


def known_names() -> set[str]:
    from fgmf.attacks.catalogue import CATALOGUE
    from fgmf.attacks.suites import SUITES
    from fgmf.attribution.catalogue import EXPLAINERS
    from fgmf.faithfulness.catalogue import METRICS
    from fgmf.gatefile import json_schema
    from fgmf.gates import _OWN_KINDS

    keys = set(re.findall(r'"(\w+)": \{', __import__("json").dumps(json_schema())))
    commands = {"fgmf check", "fgmf explain", "pytest", "[model]", "steps", "min_margin"}
    names = {"fgmf.Classifier", "verdict.measured", "verdict.interval"}
    return {*CATALOGUE, *SUITES, *EXPLAINERS, *METRICS, *_OWN_KINDS, *keys, *commands, *names}


def test_every_name_in_the_tables_of_other_tools_exists() -> None:
    known = known_names()
    rows = re.findall(r"^\| (.+) \| (.+) \|$", (DOCS / "coming-from.md").read_text(), re.MULTILINE)
    named = {word for _, here in rows for word in re.findall(r"`([^`]+)`", here)}
    assert len(named) > 40
    assert named - known == set()
