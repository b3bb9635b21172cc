"""Saving evidence: whole, capped, and inside its directory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from fgmf.errors import InvalidInput
from fgmf.failures import SavedFailures, discard_failures, load_failures, save_failures
from fgmf.failures.layout import HOME_IGNORE

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_saved_is_read_back(evidence: Any, tmp_path: Path) -> None:
    directory = tmp_path / ".fgmf" / "failures"
    given_arrays = evidence.broken(5)
    paths = evidence.save(directory)
    assert [path.relative_to(directory).as_posix() for path in paths] == [
        "robust/broken.png",
        "robust/examples.npz",
        "robust/repro.json",
    ]
    assert all(path.is_file() for path in paths)
    saved = load_failures(directory / "robust")
    assert isinstance(saved, SavedFailures)
    for name in ("images", "adversarial", "labels", "predicted"):
        assert torch.equal(getattr(saved, name), given_arrays[name])
    assert saved.dataset_indices == (0, 7, 14, 21, 28)
    assert saved.attack_names == ("pgd",) * 5
    assert saved.gate == "robust"
    assert saved.broken_count == 5
    assert saved.recipe == evidence.recipe
    assert saved.threat.describe() == "Linf eps 0.1"


def test_the_record_says_how_to_run_it_again(evidence: Any, tmp_path: Path) -> None:
    evidence.save(tmp_path)
    record = json.loads((tmp_path / "robust" / "repro.json").read_text())
    assert record["schema"] == "fgmf-failure/2"
    assert record["recipe"]["gate_seed"] == 2**62 + 1
    assert record["recipe"]["command"] == "fgmf check --gate robust"
    assert record["images"][1]["dataset_index"] == 7
    assert record["images"][1]["attack"] == "pgd"
    assert record["images"][1]["image_digest"].startswith("sha256:")


def test_saving_is_deterministic(evidence: Any, tmp_path: Path) -> None:
    first, second = (evidence.save(tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_git_ignores_evidence(evidence: Any, tmp_path: Path) -> None:
    evidence.save(tmp_path / ".fgmf" / "failures")
    assert (tmp_path / ".fgmf" / ".gitignore").read_bytes() == HOME_IGNORE
    assert not (tmp_path / ".fgmf" / "failures" / "robust" / ".gitignore").exists()
    (tmp_path / ".fgmf" / ".gitignore").write_text("mine\n")
    evidence.save(tmp_path / ".fgmf" / "failures")
    assert (tmp_path / ".fgmf" / ".gitignore").read_text() == "mine\n"


def test_git_ignores_evidence_elsewhere_without_touching_the_directory_around(
    evidence: Any,
    tmp_path: Path,
) -> None:
    evidence.save(tmp_path)
    assert (tmp_path / "robust" / ".gitignore").read_text() == "*\n"
    assert not (tmp_path / ".gitignore").exists()


def test_old_evidence_is_replaced_as_a_whole(evidence: Any, tmp_path: Path) -> None:
    evidence.save(tmp_path, count=9)
    evidence.save(tmp_path, count=2)
    assert load_failures(tmp_path / "robust").dataset_indices == (0, 7)
    assert [entry.name for entry in tmp_path.iterdir()] == ["robust"]


def test_a_failed_write_leaves_the_old_evidence(
    evidence: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence.save(tmp_path, count=3)
    written: list[Path] = []

    def fail_at_second(path: Path, contents: bytes) -> None:
        written.append(path)
        if len(written) == 2:
            raise OSError("disk full")
        path.write_bytes(contents)

    monkeypatch.setattr("fgmf.failures.saving.write_atomically", fail_at_second)
    with pytest.raises(OSError, match="disk full"):
        evidence.save(tmp_path, count=2)
    assert len(load_failures(tmp_path / "robust").images) == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["robust"]


def test_nothing_broken_removes_old_evidence(evidence: Any, tmp_path: Path) -> None:
    evidence.save(tmp_path, count=3)
    assert evidence.save(tmp_path, count=0) == ()
    assert list(tmp_path.iterdir()) == []
    discard_failures(tmp_path, gate="robust")


def test_files_of_others_are_never_removed(evidence: Any, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "model.py").write_text("precious")
    for count in (0, 2):
        with pytest.raises(InvalidInput, match=r"nothing but saved evidence in .*model\.py"):
            evidence.save(tmp_path, gate="src", count=count)
    assert (tmp_path / "src" / "model.py").read_text() == "precious"
    assert [entry.name for entry in tmp_path.iterdir()] == ["src"]


def test_a_link_in_place_of_the_directory_is_not_followed(evidence: Any, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "repro.json").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "robust").symlink_to(elsewhere)
    evidence.save(tmp_path / "out")
    assert (elsewhere / "repro.json").read_text() == "precious"
    assert not (tmp_path / "out" / "robust").is_symlink()


def test_the_number_of_images_is_capped_evenly(evidence: Any, tmp_path: Path) -> None:
    arguments = evidence.broken(40)
    order = list(reversed(range(40)))
    shuffled = {
        name: values[order] if isinstance(values, torch.Tensor) else [values[at] for at in order]
        for name, values in arguments.items()
    }
    save_failures(tmp_path, gate="a", recipe=evidence.recipe, image_limit=4, **arguments)
    save_failures(tmp_path, gate="b", recipe=evidence.recipe, image_limit=4, **shuffled)
    first, second = load_failures(tmp_path / "a"), load_failures(tmp_path / "b")
    assert first.dataset_indices == second.dataset_indices == (0, 70, 140, 210)
    assert torch.equal(first.adversarial, second.adversarial)
    assert first.broken_count == 40


def test_the_record_can_count_images_that_were_not_handed_in(evidence: Any, tmp_path: Path) -> None:
    evidence.save(tmp_path, count=3, broken_count=310)
    assert load_failures(tmp_path / "robust").broken_count == 310


@pytest.mark.parametrize("limit", [12_000, 60_000, 400_000])
def test_the_size_is_capped(evidence: Any, tmp_path: Path, limit: int) -> None:
    noise = np.random.Generator(np.random.PCG64(0)).random((30, 3, 16, 16), dtype=np.float32)
    arguments = evidence.broken(30, (3, 16, 16)) | {"adversarial": noise}
    paths = save_failures(tmp_path, gate="g", recipe=evidence.recipe, size_limit=limit, **arguments)
    written = sum(file.stat().st_size for file in (tmp_path / "g").iterdir())
    assert written <= limit
    assert 1 <= len(load_failures(tmp_path / "g").images) <= 30
    if limit == 400_000:
        assert [path.name for path in paths] == ["broken.png", "examples.npz", "repro.json"]
        assert len(load_failures(tmp_path / "g").images) == 30


def test_one_image_above_the_limit_saves_nothing(evidence: Any, tmp_path: Path) -> None:
    evidence.save(tmp_path)
    assert evidence.save(tmp_path, size_limit=500) == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adversarial": torch.zeros(5, 1, 8, 9)}, r"one shape \(n, \.\.\.\).*\(5, 1, 8, 9\)"),
        ({"adversarial": torch.zeros(5, 1, 8, 8).double()}, "one floating-point type.*float64"),
        ({"labels": [1, 2]}, r"labels of shape \(5,\), got \(2,\)"),
        ({"attack_names": ["pgd"]}, "5 attack names, one per image, got 1"),
        ({"recipe": {"command": "x"}}, "a recipe with specification, gate_seed"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    evidence: Any, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        evidence.save(tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threat": {"norm": "linf"}}, "threat with norm, epsilon and bounds"),
        ({"gate_seed": float("nan")}, "plain JSON with finite numbers"),
        ({"specification": object()}, "plain JSON with finite numbers"),
    ],
)
def test_a_recipe_that_cannot_be_read_again_is_refused(
    evidence: Any, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        evidence.save(tmp_path, recipe=evidence.recipe | changes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_types_survive(evidence: Any, tmp_path: Path, dtype: torch.dtype) -> None:
    arguments = evidence.broken(2)
    images = {name: arguments[name].to(dtype) for name in ("images", "adversarial")}
    evidence.save(tmp_path, count=2, **images)
    assert load_failures(tmp_path / "robust").adversarial.dtype is dtype


def test_brain_floats_are_widened(evidence: Any, tmp_path: Path) -> None:
    arguments = evidence.broken(2)
    images = {name: arguments[name].bfloat16() for name in ("images", "adversarial")}
    evidence.save(tmp_path, count=2, **images)
    saved = load_failures(tmp_path / "robust")
    assert torch.equal(saved.images, images["images"].float())
