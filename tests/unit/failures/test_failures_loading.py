"""What is read is not trusted: changed, cut off, linked, pickled."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fgmf.errors import InvalidInput, StaleEvidence
from fgmf.failures import load_failures


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="expected a directory of saved failures"):
        load_failures(tmp_path / "missing")
    with pytest.raises(InvalidInput, match=r"got no repro\.json"):
        load_failures(tmp_path)


@pytest.mark.parametrize("name", ["repro.json", "examples.npz"])
def test_every_cut_is_noticed(evidence: Any, tmp_path: Path, name: str) -> None:
    evidence.save(tmp_path, count=1)
    path = tmp_path / "robust" / name
    whole = path.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 2):
        path.write_bytes(whole[:length])
        with pytest.raises(StaleEvidence, match="run the gate again"):
            load_failures(tmp_path / "robust")


@pytest.mark.parametrize("name", ["repro.json", "examples.npz"])
def test_every_flipped_byte_is_noticed(evidence: Any, tmp_path: Path, name: str) -> None:
    evidence.save(tmp_path, count=1)
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


def test_a_missing_file_is_stale(evidence: Any, tmp_path: Path) -> None:
    evidence.save(tmp_path)
    (tmp_path / "robust" / "examples.npz").unlink()
    with pytest.raises(StaleEvidence, match=r"examples\.npz is missing"):
        load_failures(tmp_path / "robust")


def test_a_picture_is_not_needed(evidence: Any, tmp_path: Path) -> None:
    evidence.save(tmp_path)
    (tmp_path / "robust" / "broken.png").unlink()
    assert len(load_failures(tmp_path / "robust").images) == 5


def test_another_schema_is_stale(evidence: Any, tmp_path: Path) -> None:
    evidence.save(tmp_path)
    evidence.seal(tmp_path / "robust", schema="fgmf-failure/3")
    with pytest.raises(StaleEvidence, match="is no fgmf-failure/2: schema"):
        load_failures(tmp_path / "robust")


def test_a_wider_epsilon_written_into_the_record_is_noticed(evidence: Any, tmp_path: Path) -> None:
    evidence.save(tmp_path)
    path = tmp_path / "robust" / "repro.json"
    path.write_text(path.read_text().replace('"epsilon": 0.1', '"epsilon": 0.9'))
    with pytest.raises(StaleEvidence, match=r"repro\.json was changed"):
        load_failures(tmp_path / "robust")


def test_a_record_without_examples_is_stale(evidence: Any, tmp_path: Path) -> None:
    evidence.save(tmp_path)
    evidence.seal(tmp_path / "robust", images=[], saved_count=0)
    with pytest.raises(StaleEvidence, match="says 0 examples, lists 0"):
        load_failures(tmp_path / "robust")


@pytest.mark.parametrize("name", ["repro.json", "examples.npz"])
def test_links_are_refused(evidence: Any, tmp_path: Path, name: str) -> None:
    evidence.save(tmp_path)
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
    evidence: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    evidence.save(tmp_path, count=2)
    arrays = dict(np.load(tmp_path / "robust" / "examples.npz"))
    arrays["images"] = np.array([Bomb(), Bomb()], dtype=object)
    np.savez(tmp_path / "robust" / "examples.npz", **arrays)
    evidence.seal(tmp_path / "robust")
    with pytest.raises(InvalidInput, match="without pickled objects"):
        load_failures(tmp_path / "robust")
    assert not Path("unpickled").exists()


def test_archives_of_other_arrays_are_refused(evidence: Any, tmp_path: Path) -> None:
    evidence.save(tmp_path, count=2)
    path = tmp_path / "robust" / "examples.npz"
    arrays = dict(np.load(path))
    for name, value, message in (
        ("extra", np.zeros(2), "holds"),
        ("images", np.zeros((3, 1, 8, 8), dtype=np.float32), "2 images and adversarial images"),
        ("images", np.zeros((2, 1, 8, 8), dtype=np.int64), "one floating-point type"),
    ):
        np.savez(path, **(arrays | {name: value}))
        evidence.seal(tmp_path / "robust")
        with pytest.raises(InvalidInput, match=message):
            load_failures(tmp_path / "robust")


def test_swapped_arrays_are_stale(evidence: Any, tmp_path: Path) -> None:
    evidence.save(tmp_path, count=2)
    path = tmp_path / "robust" / "examples.npz"
    arrays = dict(np.load(path))
    for name, message in (("labels", "labels in"), ("images", "is not the one that was saved")):
        np.savez(path, **(arrays | {name: arrays[name][::-1]}))
        evidence.seal(tmp_path / "robust")
        with pytest.raises(StaleEvidence, match=message):
            load_failures(tmp_path / "robust")


def test_an_archive_that_unpacks_to_too_much_is_refused(
    evidence: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence.save(tmp_path, count=2)
    path = tmp_path / "robust" / "examples.npz"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, contents in members.items():
            padding = b"\0" * 500_000 if name == "images.npy" else b""
            archive.writestr(name, contents + padding)
    path.write_bytes(stream.getvalue())
    evidence.seal(tmp_path / "robust")
    monkeypatch.setattr("fgmf.failures.loading._LARGEST_FILE", 100_000)
    with pytest.raises(InvalidInput, match="unpacks to more"):
        load_failures(tmp_path / "robust")
