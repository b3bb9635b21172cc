"""Options that commands share mean the same in each."""

from __future__ import annotations

from typing import Any

import pytest

EVERY_DEVICE = ["check", "preflight", "selftest", "explain", "diagnose"]


@pytest.mark.parametrize("command", EVERY_DEVICE)
def test_a_device_that_is_not_there_is_an_error(shop: Any, command: str) -> None:
    shop.write(shop.head, shop.passing)
    result = shop.run(command, "fgmf.toml", "--device", "cuda:77")
    assert result.exit_code == 5
    assert "cuda:77" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_evidence_is_replayed_on_the_device_that_is_named(shop: Any) -> None:
    shop.write(shop.head, shop.failing)
    assert shop.run("check").exit_code == 1
    (evidence,) = (shop.directory / ".fgmf" / "failures").glob("*/repro.json")
    assert shop.run("replay", str(evidence.parent), "--device", "cpu").exit_code == 1
    assert shop.run("replay", str(evidence.parent), "--device", "cuda:77").exit_code == 5


def test_as_many_images_are_explained_as_are_asked(shop: Any) -> None:
    shop.write(shop.head, shop.passing)
    arguments = ["--explainer", "gradient", "--images", "2", "--output", "out"]
    result = shop.run("explain", *arguments)
    assert result.exit_code == 0, result.stderr
    assert len(list((shop.directory / "out").rglob("*.png"))) >= 1
    assert shop.run("explain", "--images", "0").exit_code == 2


def test_the_pictures_of_a_diagnosis_are_drawn_where_it_is_said(shop: Any) -> None:
    shop.write(shop.head, shop.passing)
    result = shop.run("diagnose", "--pictures", "drawn")
    assert result.exit_code in {0, 1, 3}, result.stderr
    assert [path.suffix for path in (shop.directory / "drawn").iterdir()] == [".png"]
