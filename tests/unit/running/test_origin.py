"""Evidence finds the gate file that it comes from, and no other code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fgmf.failures import save_failures
from fgmf.running.origin import named_from_evidence, recorded_gate_file

if TYPE_CHECKING:
    from pathlib import Path


def saved(home: Path, gate_file: object, *, at: str = ".fgmf/failures") -> Path:
    save_failures(
        home / at,
        gate="g",
        images=[[[0.5]]],
        adversarial=[[[0.6]]],
        labels=[0],
        predicted=[1],
        dataset_indices=[0],
        attack_names=["pgd"],
        recipe={
            "specification": {},
            "gate_seed": 1,
            "model_digest": "",
            "data_digest": "",
            "threat": {"norm": "linf", "epsilon": 0.1, "bounds": [0, 1]},
            "library_versions": {},
            "command": "",
            "gate_file": gate_file,
        },
    )
    return home / at / "g"


def test_what_is_named_is_found_again_from_anywhere_inside(tmp_path: Path) -> None:
    home = tmp_path / "models"
    file = home / "a" / "fgmf.toml"
    named = named_from_evidence(file, home / ".fgmf" / "failures")
    assert named == "a/fgmf.toml"
    directory = saved(home, named)
    assert recorded_gate_file(directory, root=tmp_path) is None  # it is not there
    file.parent.mkdir()
    file.touch()
    assert recorded_gate_file(directory, root=tmp_path) == file
    assert recorded_gate_file(directory, root=home) == file


def test_evidence_that_was_moved_is_seen_from_the_root(tmp_path: Path) -> None:
    (tmp_path / "fgmf.toml").touch()
    directory = saved(tmp_path / "artifacts", "fgmf.toml", at="downloaded")
    assert recorded_gate_file(directory, root=tmp_path) == tmp_path / "fgmf.toml"


def test_a_gate_file_elsewhere_has_no_name(tmp_path: Path) -> None:
    assert named_from_evidence(tmp_path / "fgmf.toml", tmp_path / "a" / ".fgmf" / "failures") == ""
    assert named_from_evidence(tmp_path / "fgmf.toml", None) == ""


@pytest.mark.parametrize("outside", ["relative", "absolute", "home", "link"])
def test_no_gate_file_outside_the_root_is_taken(tmp_path: Path, outside: str) -> None:
    (tmp_path / "fgmf.toml").touch()
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.toml").symlink_to(tmp_path / "fgmf.toml")
    home = tmp_path if outside == "home" else root
    names = {
        "relative": "../fgmf.toml",
        "absolute": str(tmp_path / "fgmf.toml"),
        "home": "fgmf.toml",
        "link": "link.toml",
    }
    assert recorded_gate_file(saved(home, names[outside]), root=root) is None


@pytest.mark.parametrize("named", ["", None, 3, ["fgmf.toml"]])
def test_evidence_that_names_none(tmp_path: Path, named: object) -> None:
    (tmp_path / "fgmf.toml").touch()
    assert recorded_gate_file(saved(tmp_path, named), root=tmp_path) is None


def test_evidence_that_cannot_be_read_names_none(tmp_path: Path) -> None:
    (tmp_path / "fgmf.toml").touch()
    directory = saved(tmp_path, "fgmf.toml")
    record = json.loads((directory / "repro.json").read_text())
    (directory / "repro.json").write_text(json.dumps(record | {"gate": "h"}))
    assert recorded_gate_file(directory, root=tmp_path) is None
    assert recorded_gate_file(tmp_path / "none", root=tmp_path) is None
