"""Options of the commands about mask logs: each changes what is said, or how it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from mask_logs import write_log, write_stream
from typer.testing import CliRunner

from fgmf.cli.application import application
from fgmf.mask_log import Expectation, Manifest
from fgmf.mask_log.manifest import write_manifest
from fgmf.mask_log.places import LogDirectory

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result
    from mask_logs import WrittenLog


@pytest.fixture
def log(tmp_path: Path) -> WrittenLog:
    return write_log(tmp_path / "log")


def run(*words: str | Path) -> Result:
    result: Result = CliRunner().invoke(application, ["log", *map(str, words)])
    return result


def test_a_log_without_an_anchor_passes_only_where_that_is_said(log: WrittenLog) -> None:
    assert run("verify", log.path).exit_code == 3
    result = run("verify", log.path, "--unanchored")
    assert result.exit_code == 0, result.output
    assert "UNANCHORED" in result.output


def test_integrity_does_not_ask_for_everything(tmp_path: Path) -> None:
    directory = LogDirectory(path=tmp_path / "short")
    manifest = Manifest(run="run", streams={"train-0": Expectation(steps=9)})
    write_manifest(directory, manifest)
    write_stream(directory, "train-0", manifest, steps=range(4)).close()
    assert run("verify", directory.path, "--unanchored").exit_code == 1
    result = run("verify", directory.path, "--unanchored", "--integrity")
    assert result.exit_code == 0, result.output


def test_bounds_on_erasures_and_age_are_taken(log: WrittenLog) -> None:
    fresh = ("--unanchored", "--max-erased", "0", "--max-age-hours", "1000000")
    assert run("verify", log.path, *fresh).exit_code == 0
    old = run("verify", log.path, "--unanchored", "--max-age-hours", "0.000001")
    assert old.exit_code == 1
    assert "hours" in old.output


def shown(*words: str | Path) -> list[str]:
    result = run("show", *words)
    assert result.exit_code == 0, result.output
    return [line for line in result.output.splitlines() if line.startswith("train-0")]


def test_samples_are_chosen_by_stream_step_and_purpose(log: WrittenLog) -> None:
    everything = shown(log.path)
    assert len(everything) > 2
    assert shown(log.path, "--stream", "train-0") == everything
    assert shown(log.path, "--stream", "other") == []
    assert shown(log.path, "--purpose", "forward") == everything
    assert shown(log.path, "--purpose", "attack") == []
    first = shown(log.path, "--steps", "0")
    assert 0 < len(first) < len(everything)
    assert shown(log.path, "--steps", ":0") == first
    assert run("show", log.path, "--steps", "x").exit_code == 2


def test_samples_are_passed_over_and_paged(log: WrittenLog, tmp_path: Path) -> None:
    everything = shown(log.path)
    assert len(shown(log.path, "--skip", "1")) == len(everything) - 1
    result = run("show", log.path, "--html", tmp_path / "pages", "--page-size", "1")
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"{len(everything)} pages")


def test_a_proof_of_a_sample_in_one_stream(log: WrittenLog, tmp_path: Path) -> None:
    words = ("prove", log.path, "--head", log.head, "--sample", "0", "--output")
    good = run(*words, tmp_path / "a.json", "--stream", "train-0")
    assert good.exit_code == 0, good.output
    assert run("check-proof", tmp_path / "a.json", log.head).exit_code == 0
    other = run(*words, tmp_path / "b.json", "--stream", "other")
    assert other.exit_code != 0
    assert not (tmp_path / "b.json").exists()
