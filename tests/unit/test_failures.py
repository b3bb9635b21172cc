"""Saving and loading evidence: whole, capped, inside its directory, and never trusted blindly."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fgmf.errors import InvalidInput, StaleEvidence
from fgmf.failures import (
    SavedFailures,
    directory_name,
    discard_failures,
    load_failures,
    save_failures,
)
from fgmf.failures.layout import bytes_digest, record_digest

RECIPE: dict[str, Any] = {
    "specification": {"kind": "robustness", "norm": "linf", "epsilon": "8/255"},
    "gate_seed": 2**62 + 1,
    "model_digest": "sha256:model",
    "data_digest": "sha256:data",
    "threat": {"norm": "linf", "epsilon": 0.1, "bounds": [0.0, 1.0]},
    "library_versions": {"torch": "2"},
    "command": "fgmf check --gate robust",
}


def broken(count: int, shape: tuple[int, ...] = (1, 8, 8)) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand((count, *shape), generator=generator)
    signs = torch.rand((count, *shape), generator=generator) * 2 - 1
    return {
        "images": images,
        "adversarial": (images + 0.09 * signs).clamp(0, 1),
        "labels": torch.arange(count) % 10,
        "predicted": (torch.arange(count) + 1) % 10,
        "dataset_indices": [7 * row for row in range(count)],
        "attack_names": ["pgd"] * count,
    }


def save(directory: Path, count: int = 5, gate: str = "robust", **changes: Any) -> tuple[Path, ...]:
    arguments = broken(count) | {"recipe": RECIPE} | changes
    return save_failures(directory, gate=gate, **arguments)


def seal(directory: Path, **changes: Any) -> None:
    """Rewrite the record as a forger would: with digests that fit."""
    path = directory / "repro.json"
    record = json.loads(path.read_text()) | changes
    record["arrays"]["digest"] = bytes_digest((directory / "examples.npz").read_bytes())
    record["digest"] = record_digest(record)
    path.write_text(json.dumps(record))


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    directory = tmp_path / ".fgmf" / "failures"
    given_arrays = broken(5)
    paths = save(directory)
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
    assert saved.recipe == RECIPE
    assert saved.threat.describe() == "Linf eps 0.1"


def test_the_record_says_how_to_run_it_again(tmp_path: Path) -> None:
    save(tmp_path)
    record = json.loads((tmp_path / "robust" / "repro.json").read_text())
    assert record["schema"] == "fgmf-failure/1"
    assert record["recipe"]["gate_seed"] == 2**62 + 1
    assert record["recipe"]["command"] == "fgmf check --gate robust"
    assert record["images"][1]["dataset_index"] == 7
    assert record["images"][1]["attack"] == "pgd"
    assert record["images"][1]["image_digest"].startswith("sha256:")


def test_saving_is_deterministic(tmp_path: Path) -> None:
    first, second = (save(tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_git_ignores_evidence(tmp_path: Path) -> None:
    save(tmp_path / ".fgmf" / "failures")
    assert (tmp_path / ".fgmf" / ".gitignore").read_text() == "*\n"
    assert not (tmp_path / ".fgmf" / "failures" / "robust" / ".gitignore").exists()
    (tmp_path / ".fgmf" / ".gitignore").write_text("mine\n")
    save(tmp_path / ".fgmf" / "failures")
    assert (tmp_path / ".fgmf" / ".gitignore").read_text() == "mine\n"


def test_git_ignores_evidence_elsewhere_without_touching_the_directory_around(
    tmp_path: Path,
) -> None:
    save(tmp_path)
    assert (tmp_path / "robust" / ".gitignore").read_text() == "*\n"
    assert not (tmp_path / ".gitignore").exists()


def test_old_evidence_is_replaced_as_a_whole(tmp_path: Path) -> None:
    save(tmp_path, count=9)
    save(tmp_path, count=2)
    assert load_failures(tmp_path / "robust").dataset_indices == (0, 7)
    assert [entry.name for entry in tmp_path.iterdir()] == ["robust"]


def test_a_failed_write_leaves_the_old_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, count=3)
    written: list[Path] = []

    def fail_at_second(path: Path, contents: bytes) -> None:
        written.append(path)
        if len(written) == 2:
            raise OSError("disk full")
        path.write_bytes(contents)

    monkeypatch.setattr("fgmf.failures.saving.write_atomically", fail_at_second)
    with pytest.raises(OSError, match="disk full"):
        save(tmp_path, count=2)
    assert len(load_failures(tmp_path / "robust").images) == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["robust"]


def test_nothing_broken_removes_old_evidence(tmp_path: Path) -> None:
    save(tmp_path, count=3)
    assert save(tmp_path, count=0) == ()
    assert list(tmp_path.iterdir()) == []
    discard_failures(tmp_path, gate="robust")


def test_files_of_others_are_never_removed(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "model.py").write_text("precious")
    for count in (0, 2):
        with pytest.raises(InvalidInput, match=r"nothing but saved evidence in .*model\.py"):
            save(tmp_path, gate="src", count=count)
    assert (tmp_path / "src" / "model.py").read_text() == "precious"
    assert [entry.name for entry in tmp_path.iterdir()] == ["src"]


def test_a_link_in_place_of_the_directory_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "repro.json").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "robust").symlink_to(elsewhere)
    save(tmp_path / "out")
    assert (elsewhere / "repro.json").read_text() == "precious"
    assert not (tmp_path / "out" / "robust").is_symlink()


def test_the_number_of_images_is_capped_evenly(tmp_path: Path) -> None:
    arguments = broken(40)
    order = list(reversed(range(40)))
    shuffled = {
        name: values[order] if isinstance(values, torch.Tensor) else [values[at] for at in order]
        for name, values in arguments.items()
    }
    save_failures(tmp_path, gate="a", recipe=RECIPE, image_limit=4, **arguments)
    save_failures(tmp_path, gate="b", recipe=RECIPE, image_limit=4, **shuffled)
    first, second = load_failures(tmp_path / "a"), load_failures(tmp_path / "b")
    assert first.dataset_indices == second.dataset_indices == (0, 70, 140, 210)
    assert torch.equal(first.adversarial, second.adversarial)
    assert first.broken_count == 40


@pytest.mark.parametrize("limit", [12_000, 60_000, 400_000])
def test_the_size_is_capped(tmp_path: Path, limit: int) -> None:
    noise = np.random.Generator(np.random.PCG64(0)).random((30, 3, 16, 16), dtype=np.float32)
    arguments = broken(30, (3, 16, 16)) | {"adversarial": noise}
    paths = save_failures(tmp_path, gate="g", recipe=RECIPE, size_limit=limit, **arguments)
    written = sum(file.stat().st_size for file in (tmp_path / "g").iterdir())
    assert written <= limit
    assert 1 <= len(load_failures(tmp_path / "g").images) <= 30
    if limit == 400_000:
        assert [path.name for path in paths] == ["broken.png", "examples.npz", "repro.json"]
        assert len(load_failures(tmp_path / "g").images) == 30


def test_one_image_above_the_limit_saves_nothing(tmp_path: Path) -> None:
    save(tmp_path)
    assert save(tmp_path, size_limit=500) == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["robust-linf", "a@linf=8", "v1.2_x", "a"])
def test_plain_names_stay_readable(name: str) -> None:
    assert directory_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", "A", "", ".", "..", "con", "nul.txt", "a.", "x\x00", "é", "a~b", "x" * 200],
)
def test_other_names_are_made_harmless(tmp_path: Path, name: str) -> None:
    slug = directory_name(name)
    assert slug != name
    assert len(slug) < 64
    assert (tmp_path / slug).resolve().parent == tmp_path.resolve()
    save(tmp_path, count=1, gate=name)
    assert load_failures(tmp_path / slug).gate == name


@given(first=st.text(), second=st.text())
def test_two_gates_never_share_a_directory(first: str, second: str) -> None:
    slugs = [directory_name(name) for name in (first, second, first.upper(), directory_name(first))]
    for slug in slugs:
        assert slug == slug.lower()
        assert slug not in {"", ".", ".."}
        assert not set(slug) & set('/\\:*?"<>|\x00')
    if first != second:
        assert slugs[0] != slugs[1]
    if first != first.upper():
        assert slugs[0] != slugs[2]
    if first != slugs[0]:
        assert slugs[0] != slugs[3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adversarial": torch.zeros(5, 1, 8, 9)}, r"one shape \(n, \.\.\.\).*\(5, 1, 8, 9\)"),
        ({"adversarial": torch.zeros(5, 1, 8, 8).double()}, "one floating-point type.*float64"),
        ({"labels": [1, 2]}, r"labels of shape \(5,\), got \(2,\)"),
        ({"attack_names": ["pgd"]}, "5 attack names, one per image, got 1"),
        ({"recipe": {"command": "x"}}, "a recipe with specification, gate_seed"),
        ({"recipe": RECIPE | {"threat": {"norm": "linf"}}}, "threat with norm, epsilon and bounds"),
        ({"recipe": RECIPE | {"gate_seed": float("nan")}}, "plain JSON with finite numbers"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        save(tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_types_survive(tmp_path: Path, dtype: torch.dtype) -> None:
    arguments = broken(2)
    images = {name: arguments[name].to(dtype) for name in ("images", "adversarial")}
    save(tmp_path, count=2, **images)
    assert load_failures(tmp_path / "robust").adversarial.dtype is dtype


def test_brain_floats_are_widened(tmp_path: Path) -> None:
    arguments = broken(2)
    images = {name: arguments[name].bfloat16() for name in ("images", "adversarial")}
    save(tmp_path, count=2, **images)
    saved = load_failures(tmp_path / "robust")
    assert torch.equal(saved.images, images["images"].float())


# --- what is read is not trusted ---


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="expected a directory of saved failures"):
        load_failures(tmp_path / "missing")
    with pytest.raises(InvalidInput, match=r"got no repro\.json"):
        load_failures(tmp_path)


@pytest.mark.parametrize("name", ["repro.json", "examples.npz"])
def test_every_cut_is_noticed(tmp_path: Path, name: str) -> None:
    save(tmp_path, count=1)
    path = tmp_path / "robust" / name
    whole = path.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 2):
        path.write_bytes(whole[:length])
        with pytest.raises(StaleEvidence, match="run the gate again"):
            load_failures(tmp_path / "robust")


@pytest.mark.parametrize("name", ["repro.json", "examples.npz"])
def test_every_flipped_byte_is_noticed(tmp_path: Path, name: str) -> None:
    save(tmp_path, count=1)
    path = tmp_path / "robust" / name
    whole = path.read_bytes()
    step = max(1, len(whole) // 60)
    for at in range(0, len(whole), step):
        changed = bytearray(whole)
        changed[at] ^= 1
        path.write_bytes(bytes(changed))
        if changed.decode("latin-1").split() == whole.decode("latin-1").split():
            continue
        with pytest.raises(StaleEvidence):
            load_failures(tmp_path / "robust")


def test_a_missing_file_is_stale(tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / "robust" / "examples.npz").unlink()
    with pytest.raises(StaleEvidence, match=r"examples\.npz is missing"):
        load_failures(tmp_path / "robust")


def test_a_picture_is_not_needed(tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / "robust" / "broken.png").unlink()
    assert len(load_failures(tmp_path / "robust").images) == 5


def test_another_schema_is_stale(tmp_path: Path) -> None:
    save(tmp_path)
    seal(tmp_path / "robust", schema="fgmf-failure/2")
    with pytest.raises(StaleEvidence, match="is no fgmf-failure/1: schema"):
        load_failures(tmp_path / "robust")


def test_a_wider_epsilon_written_into_the_record_is_noticed(tmp_path: Path) -> None:
    save(tmp_path)
    path = tmp_path / "robust" / "repro.json"
    path.write_text(path.read_text().replace('"epsilon": 0.1', '"epsilon": 0.9'))
    with pytest.raises(StaleEvidence, match=r"repro\.json was changed"):
        load_failures(tmp_path / "robust")


def test_a_record_without_examples_is_stale(tmp_path: Path) -> None:
    save(tmp_path)
    seal(tmp_path / "robust", images=[], saved_count=0)
    with pytest.raises(StaleEvidence, match="says 0 examples, lists 0"):
        load_failures(tmp_path / "robust")


@pytest.mark.parametrize("name", ["repro.json", "examples.npz"])
def test_links_are_refused(tmp_path: Path, name: str) -> None:
    save(tmp_path)
    path = tmp_path / "robust" / name
    path.rename(tmp_path / name)
    path.symlink_to(tmp_path / name)
    with pytest.raises(InvalidInput, match="got a link"):
        load_failures(tmp_path / "robust")


class Bomb:
    """Unpickling this would leave a trace."""

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return (Path.touch, (Path("unpickled"),))


def test_pickled_objects_are_refused_and_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path, count=2)
    arrays = dict(np.load(tmp_path / "robust" / "examples.npz"))
    arrays["images"] = np.array([Bomb(), Bomb()], dtype=object)
    np.savez(tmp_path / "robust" / "examples.npz", **arrays)
    seal(tmp_path / "robust")
    with pytest.raises(InvalidInput, match="without pickled objects"):
        load_failures(tmp_path / "robust")
    assert not Path("unpickled").exists()


def test_archives_of_other_arrays_are_refused(tmp_path: Path) -> None:
    save(tmp_path, count=2)
    path = tmp_path / "robust" / "examples.npz"
    arrays = dict(np.load(path))
    for name, value, message in (
        ("extra", np.zeros(2), "holds"),
        ("images", np.zeros((3, 1, 8, 8), dtype=np.float32), "2 images and adversarial images"),
        ("images", np.zeros((2, 1, 8, 8), dtype=np.int64), "one floating-point type"),
    ):
        np.savez(path, **(arrays | {name: value}))
        seal(tmp_path / "robust")
        with pytest.raises(InvalidInput, match=message):
            load_failures(tmp_path / "robust")


def test_swapped_arrays_are_stale(tmp_path: Path) -> None:
    save(tmp_path, count=2)
    path = tmp_path / "robust" / "examples.npz"
    arrays = dict(np.load(path))
    for name, message in (("labels", "labels in"), ("images", "is not the one that was saved")):
        np.savez(path, **(arrays | {name: arrays[name][::-1]}))
        seal(tmp_path / "robust")
        with pytest.raises(StaleEvidence, match=message):
            load_failures(tmp_path / "robust")


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, count=2)
    path = tmp_path / "robust" / "examples.npz"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, contents in members.items():
            padding = b"\0" * 500_000 if name == "images.npy" else b""
            archive.writestr(name, contents + padding)
    path.write_bytes(stream.getvalue())
    seal(tmp_path / "robust")
    monkeypatch.setattr("fgmf.failures.loading._LARGEST_FILE", 100_000)
    with pytest.raises(InvalidInput, match="unpacks to more"):
        load_failures(tmp_path / "robust")


# --- the picture ---


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (3, 32, 32), (3, 224, 224), (2, 9, 5), (4, 6, 6), (8, 8), (12,), (1, 1, 1)]
)
def test_every_shape_has_a_picture(tmp_path: Path, shape: tuple[int, ...]) -> None:
    save_failures(tmp_path, gate="g", recipe=RECIPE, **broken(3, shape))
    with Image.open(tmp_path / "g" / "broken.png") as picture:
        assert picture.format == "PNG"
        assert picture.width <= 1200
        assert picture.height <= 1000


def test_the_picture_shows_image_adversarial_and_perturbation(tmp_path: Path) -> None:
    images = torch.zeros(1, 3, 4, 4)
    adversarial = images.clone()
    images[:, 1] = 1.0
    adversarial[:, 1] = 1.0
    adversarial[:, 0] = 0.1
    arguments = broken(1) | {"images": images, "adversarial": adversarial}
    save_failures(tmp_path, gate="g", recipe=RECIPE, **arguments)
    with Image.open(tmp_path / "g" / "broken.png") as picture:
        middle = [picture.getpixel((6 + 48 + column * 98, 28 + 48)) for column in range(3)]
    assert middle == [(0, 255, 0), (26, 255, 0), (255, 128, 128)]


def test_a_large_picture_says_what_it_leaves_out(tmp_path: Path) -> None:
    count = 64
    arguments = broken(count) | {
        "images": torch.rand(count, 1, 224, 224).half(),
        "adversarial": torch.rand(count, 1, 224, 224).half(),
    }
    save_failures(tmp_path, gate="g", recipe=RECIPE, size_limit=30_000_000, **arguments)
    with Image.open(tmp_path / "g" / "broken.png") as picture:
        assert picture.width * picture.height < 7_000_000
