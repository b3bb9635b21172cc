"""`fgmf preflight`: findings for each model."""

from __future__ import annotations

from typing import Any


def test_preflight_of_a_sound_model(shop: Any) -> None:
    shop.write(shop.head, shop.passing, shop.failing)
    result = shop.run("preflight")
    assert result.exit_code == 0
    assert result.stdout.startswith("model Brightness (small, large): ")
    assert "error" not in result.stdout


def test_preflight_names_what_forbids_a_pass(shop: Any) -> None:
    shop.write(shop.head, shop.failing.replace("0.3", "0"), shop.passing)
    result = shop.run("preflight")
    assert result.exit_code == 1
    assert "1 error" in result.stdout.splitlines()[0]
    assert "epsilon-zero" in result.stdout
    assert "fix: give a budget" in result.stdout
    shop.write(shop.head, shop.failing.replace("0.3", "0"), 'waive = ["epsilon-zero"]\n')
    waived = shop.run("preflight")
    assert waived.exit_code == 0
    assert "error (waived)  epsilon-zero" in waived.stdout


def test_preflight_looks_at_every_model(shop: Any) -> None:
    two = shop.head.replace("[model]", '[[model]]\nname = "a"').replace(
        "[data]",
        '[[model]]\nname = "b"\nfactory = "cli_shop:load"\narguments = { at = 0.9 }\n'
        "bounds = [0, 1]\n[data]",
    )
    shop.write(two, shop.passing, 'model = "a"\n', shop.failing, 'model = "b"\n')
    lines = shop.run("preflight").stdout.splitlines()
    assert any(line.startswith("model a (small): ") for line in lines)
    assert any(line.startswith("model b (large): ") for line in lines)
    assert any("clean-accuracy-at-chance" in line for line in lines)


def test_preflight_of_a_model_that_cannot_be_loaded(shop: Any) -> None:
    shop.write(shop.broken_model, shop.passing)
    result = shop.run("preflight")
    assert result.exit_code == 5
    assert "raised KeyError: 'weights.pt'" in result.stderr
    assert "Traceback" not in result.output
