"""The example of policies: its two teams differ as its README says, its gate tells them apart."""

from __future__ import annotations

import importlib
import sys
import tomllib
from typing import Any

import pytest
import torch
from digits_fixtures import EXAMPLE as DIGITS

from fgmf import Classifier, Outcome
from fgmf.gates import PolicyReturnGate

EXAMPLE = DIGITS.parent / "carriers"


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(EXAMPLE), *sys.path])


def module(name: str) -> Any:
    return importlib.import_module(f"carriers.{name}")


def shipped_gate(team: torch.nn.Module, **changes: Any) -> Any:
    (gate,) = tomllib.loads((EXAMPLE / "fgmf.toml").read_text(encoding="utf-8"))["gate"]
    return PolicyReturnGate(**{**gate, **changes}).check(
        Classifier(team, bounds=(0, 1), device="cpu")
    )


@pytest.mark.parametrize(("name", "outcome"), [("plain", Outcome.FAIL), ("hardened", Outcome.PASS)])
def test_the_gate_tells_the_teams_apart(name: str, outcome: Outcome) -> None:
    """Trained shorter than the example's own, so held to a little less."""
    rounds, episodes = (3, 120) if name == "plain" else (5, 120)
    team = module("train").train(name, rounds=rounds, episodes=episodes)
    verdict = shipped_gate(team, episodes=120, min_return=0.3, min_clean_return=0.6)
    assert verdict.outcome is outcome, verdict.reason
    clean = verdict.conditions[1]
    assert clean.outcome is Outcome.PASS  # undisturbed, both arrive
    assert verdict.conditions[0].outcome is outcome


def test_command_writes_what_the_factories_load(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train, team = module("train"), module("team")
    for one in (train, team):
        monkeypatch.setattr(one, "WEIGHTS", tmp_path / "weights")
    for load in (team.load_plain, team.load_hardened):
        with pytest.raises(FileNotFoundError, match=r"python -m carriers\.train"):
            load()
    monkeypatch.setattr(train, "train", lambda name, seed: team.untrained(seed))
    monkeypatch.setattr("sys.argv", ["train"])
    threads = torch.get_num_threads()
    train.main()
    torch.set_num_threads(threads)
    assert capsys.readouterr().out.count(".safetensors") == 2
    assert not team.load_hardened().training


def test_both_gate_files_ask_for_the_same() -> None:
    files = [
        tomllib.loads((EXAMPLE / name).read_text(encoding="utf-8"))
        for name in ("fgmf.toml", "fgmf-plain.toml")
    ]
    assert files[0]["gate"] == files[1]["gate"]
    factories = [one["model"]["factory"] for one in files]
    assert factories == ["carriers.team:load_hardened", "carriers.team:load_plain"]
