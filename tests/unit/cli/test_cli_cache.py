"""`fgmf check --cache`: the same words and reports, less cost."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def verdicts(shop: Any, *options: str) -> tuple[str, str, int]:
    """What a run printed, what it reported less cost, and how many images it took."""
    shop.run("check", "--report", "json:r.json", *options)
    document = json.loads((shop.directory / "r.json").read_text())
    taken = sum(verdict.pop("cost")["cached_images"] for verdict in document["verdicts"])
    result = shop.run("check", *options)
    return result.stdout, json.dumps(document), taken


def test_nothing_is_kept_unless_it_is_asked_for(shop: Any) -> None:
    shop.write(shop.head, shop.passing)
    shop.run("check")
    assert not (shop.directory / ".fgmf" / "cache").exists()


def test_the_second_run_takes_what_the_first_one_left(shop: Any) -> None:
    shop.write(shop.head, shop.passing, shop.failing)
    _, plain, none = verdicts(shop)
    _, cold, cold_taken = verdicts(shop, "--cache")
    words, warm, warm_taken = verdicts(shop, "--cache")
    assert plain == cold == warm
    assert (none, cold_taken, warm_taken) == (0, 0, 400)
    assert "200 images taken from the cache" in words
    assert "note:" not in words
    assert (shop.directory / ".fgmf" / "cache" / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        (("10 *", "11 *"), 0),
        (("0.5)", "0.52)"), 0),
        (("KeyError", "ValueError"), 0),
        (("", ""), 200),
    ],
)
def test_a_changed_source_takes_nothing(shop: Any, change: tuple[str, str], taken: int) -> None:
    shop.write(shop.head, shop.passing)
    verdicts(shop, "--cache")
    shop.write_source(shop.source.replace(*change) if change[0] else shop.source)
    assert verdicts(shop, "--cache")[2] == taken


def test_another_seed_takes_nothing(shop: Any) -> None:
    shop.write(shop.head, shop.passing)
    verdicts(shop, "--cache")
    assert verdicts(shop, "--cache", "--seed", "8")[2] == 0


def test_another_version_of_a_library_takes_nothing(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fgmf.caching import code

    shop.write(shop.head, shop.passing)
    verdicts(shop, "--cache")
    found = code.LoadedCode.versions
    monkeypatch.setattr(
        code.LoadedCode, "versions", lambda self, **more: {**found(self, **more), "foolbox": "99"}
    )
    assert verdicts(shop, "--cache")[2] == 0


def test_the_nightly_profile_measures_everything_and_says_so(shop: Any) -> None:
    shop.write(shop.head, shop.passing)
    verdicts(shop, "--cache")
    words, _, taken = verdicts(shop, "--cache", "--profile", "nightly")
    assert "the cache is not used: profile nightly measures everything anew" in words
    assert taken == 0


def test_a_damaged_file_is_said_and_measured_again(shop: Any) -> None:
    shop.write(shop.head, shop.passing)
    _, plain, _ = verdicts(shop)
    shop.run("check", "--cache")
    (path,) = (shop.directory / ".fgmf" / "cache").glob("*/*.npz")
    path.write_bytes(path.read_bytes()[:-40])
    result = shop.run("check", "--cache")
    assert f"note: small: cache file {path.parent.name}/{path.name} is left aside" in result.stdout
    assert result.exit_code == 0
    path.write_bytes(b"")
    _, damaged, _ = verdicts(shop, "--cache")
    assert damaged == plain


def _read_only(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No user may write, not even one who may do everything."""
    from fgmf.caching import shards

    def refuse(path: Path, contents: bytes) -> None:
        raise PermissionError(13, os.strerror(13), str(path))

    monkeypatch.setattr(shards, "write_atomically", refuse)


def test_a_directory_that_cannot_be_written_is_said_and_no_error(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.write(shop.head, shop.passing)
    _read_only(shop.directory, monkeypatch)
    result = shop.run("check", "--cache")
    assert "note: small: cache not written: Permission denied" in result.stdout
    assert result.exit_code == 0


def test_a_file_in_the_place_of_the_directory_is_no_error(shop: Any) -> None:
    shop.write(shop.head, shop.passing)
    (shop.directory / ".fgmf").mkdir()
    (shop.directory / ".fgmf" / "cache").write_text("in the way")
    result = shop.run("check", "--cache")
    assert "note: small: cache not written" in result.stdout
    assert result.exit_code == 0
