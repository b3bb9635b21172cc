"""`fgmf replay`: saved examples against the model as it is now."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def test_replay_fails_until_the_model_is_better(shop: Any) -> None:
    gate = shop.failing.replace("0.3", "0.1").replace("0.5", "0.9")
    shop.write(shop.head + "[model.arguments]\nat = 0.62\n", gate)  # too near to class 1
    shop.run("check")
    for directory in (".fgmf/failures/large", ".fgmf/failures"):
        result = shop.run("replay", directory, "--batch-size", "5")
        assert result.exit_code == 1
        assert (
            "FAIL large: replay: 64/64 saved examples still break the model; the repeated attack "
            "breaks 64/64 images, "
        ) in result.stdout
        assert "saved examples: 64 of 64 still break the model" in result.stdout
        assert "repeated attack: breaks 64 of 64 images with the recorded seed, " in result.stdout
        assert "model: the recorded one" in result.stdout
        assert "changed since: batch_size 128 -> 5" in result.stdout
    other = shop.run("replay", ".fgmf/failures/large", "--seed", "3", "--gate-file", "fgmf.toml")
    assert "with seed 3 (recorded: " in other.stdout
    assert "reproduce: fgmf replay .fgmf/failures/large --seed 3 --gate-file fgmf" in other.stdout
    shop.write(shop.head, gate)
    result = shop.run("replay", ".fgmf/failures/large")
    assert (
        "PASS large: replay: 0/64 saved examples still break the model; the repeated attack "
        "breaks 0/64 images "
    ) in result.stdout
    assert result.exit_code == 0


def test_the_gate_file_of_the_evidence_names_the_model(shop: Any) -> None:
    Path("b").mkdir()
    gate = shop.failing.replace("0.3", "0.1").replace("0.5", "0.9")
    shop.write(shop.head, shop.passing)  # the model here is a good one
    near = shop.head + "[model.arguments]\nat = 0.62\n" + gate
    Path("b/fgmf.toml").write_text(near.replace("cli_shop:", "cli_below:"))
    Path("b/cli_below.py").write_text(Path("cli_shop.py").read_text())
    assert shop.run("check", "b").exit_code == 1
    result = shop.run("replay", "b/.fgmf/failures/large")
    assert "FAIL large: replay: 64/64" in result.stdout
    result = shop.run("replay", "b/.fgmf/failures/large", "--gate-file", "fgmf.toml")
    assert "PASS large: replay: 0/64" in result.stdout


def test_replay_of_nothing(shop: Any) -> None:
    shop.write(shop.head, shop.failing)
    result = shop.run("replay", "nowhere")
    assert result.exit_code == 2
    assert "got nowhere, where there are none" in result.stderr


def test_replay_of_changed_evidence_is_an_error(shop: Any) -> None:
    shop.write(shop.head, shop.failing)
    shop.run("check")
    with Path(".fgmf/failures/large/examples.npz").open("ab") as stream:
        stream.write(b"x")
    result = shop.run("replay", ".fgmf/failures")
    assert result.exit_code == 5
    assert "ERROR large: replay: not measured: " in result.stdout
