"""`fgmf replay`: saved examples against the model as it is now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch


def test_replay_fails_until_the_model_is_better(shop: Any) -> None:
    shop.write(shop.head, shop.failing)
    shop.run("check")
    for directory in (".fgmf/failures/large", ".fgmf/failures"):
        result = shop.run("replay", directory)
        assert result.exit_code == 1
        assert "FAIL large: replay: " in result.stdout
        assert "saved examples still break the model (Linf eps 0.3; n=64)" in result.stdout
    improved = shop.source.replace("class Brightness", "class _Old").replace(
        "def load(at=0.5):\n    return Brightness(at).eval()",
        "def load():\n    return lambda images: LABELS[: len(images)]",
    )
    saved = json.loads(Path(".fgmf/failures/large/repro.json").read_text())["images"]
    one_hot = torch.eye(2)[[entry["label"] for entry in saved]].tolist()
    shop.write_source(f"{improved}\n\nLABELS = torch.tensor({one_hot})\n")
    result = shop.run("replay", ".fgmf/failures/large")
    assert "PASS large: replay: 0/64 saved examples still break" in result.stdout
    assert result.exit_code == 0


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
