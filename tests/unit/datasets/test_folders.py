"""Folders of images: classes in order, pixels as documented, everything doubtful refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fgmf.datasets import collect_samples, image_folder
from fgmf.errors import InvalidInput


def save(path: Path, array: np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def grey(value: int, height: int = 4, width: int = 5) -> np.ndarray:
    return np.full((height, width), value, dtype=np.uint8)


def test_classes_and_files_in_order(tmp_path: Path) -> None:
    for position, name in enumerate(["b/2.png", "b/10.png", "a/z.png", "c/x.bmp"]):
        save(tmp_path / name, grey(position * 51))
    (tmp_path / "README.md").write_text("about this set")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "a" / ".hidden").write_text("left out")
    samples = image_folder(tmp_path)
    assert samples.labels.tolist() == [0, 1, 1, 2]
    assert samples.images.shape == (4, 1, 4, 5)
    assert samples.images.dtype is torch.float32
    expected = torch.tensor([102, 51, 0, 153]).div(255).tolist()
    assert samples.images[:, 0, 0, 0].tolist() == expected
    assert torch.equal(collect_samples(str(tmp_path)).images, samples.images)


def test_colour_keeps_its_channels(tmp_path: Path) -> None:
    pixels = np.arange(224 * 224 * 3).reshape(224, 224, 3).astype(np.uint8)
    save(tmp_path / "a" / "1.png", pixels)
    save(tmp_path / "b" / "1.png", pixels[::-1])
    samples = image_folder(str(tmp_path))
    assert samples.images.shape == (2, 3, 224, 224)
    assert np.array_equal(
        samples.images[0].mul(255).round().byte().numpy(), np.moveaxis(pixels, 2, 0)
    )


def test_palette_and_bitmap_lose_nothing(tmp_path: Path) -> None:
    colour = Image.new("RGB", (5, 4), (255, 0, 51))
    (tmp_path / "a").mkdir()
    colour.quantize(4).save(tmp_path / "a" / "1.png")
    assert image_folder(tmp_path).images[0, :, 0, 0].mul(255).round().tolist() == [255, 0, 51]
    Image.new("1", (5, 4), 1).save(tmp_path / "a" / "1.png")
    assert image_folder(tmp_path).images.shape == (1, 1, 4, 5)
    assert image_folder(tmp_path).images.min() == 1


@pytest.mark.parametrize(("size", "shape"), [(6, (6, 6)), ((3, 7), (3, 7))])
def test_resizing(tmp_path: Path, size: int | tuple[int, int], shape: tuple[int, int]) -> None:
    save(tmp_path / "a" / "1.png", grey(51))
    save(tmp_path / "a" / "2.png", grey(51, 9, 9))
    samples = image_folder(tmp_path, size=size)
    assert samples.images.shape == (2, 1, *shape)
    assert torch.allclose(samples.images, torch.tensor(0.2))


@pytest.mark.parametrize("size", [0, -3, (3,), (3, 0), (2.5, 2), "8"])
def test_wrong_sizes(tmp_path: Path, size: int) -> None:
    save(tmp_path / "a" / "1.png", grey(51))
    with pytest.raises(InvalidInput, match="size as pixels"):
        image_folder(tmp_path, size=size)


def test_images_that_differ(tmp_path: Path) -> None:
    save(tmp_path / "a" / "1.png", grey(1))
    save(tmp_path / "b" / "1.png", grey(1, 4, 4))
    with pytest.raises(
        InvalidInput, match=r"\(1, 4, 5\) in .*a.1.png and \(1, 4, 4\) in .*b.1.png"
    ):
        image_folder(tmp_path)
    save(tmp_path / "b" / "1.png", np.zeros((4, 5, 3), dtype=np.uint8))
    with pytest.raises(InvalidInput, match="convert grey and RGB alike"):
        image_folder(tmp_path, size=4)


def test_pixels_that_would_be_lost(tmp_path: Path) -> None:
    path = save(tmp_path / "a" / "1.png", np.zeros((4, 4, 4), dtype=np.uint8))
    with pytest.raises(InvalidInput, match="mode RGBA"):
        image_folder(tmp_path)
    Image.fromarray(np.zeros((4, 4), dtype=np.uint16)).save(path)
    with pytest.raises(InvalidInput, match="mode I"):
        image_folder(tmp_path)
    path.unlink()
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a" / "1.webp", save_all=True, append_images=frames[1:])
    with pytest.raises(InvalidInput, match="got 2 frames"):
        image_folder(tmp_path)


def test_folders_that_hold_something_else(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no folder at"):
        image_folder(tmp_path / "missing")
    with pytest.raises(InvalidInput, match="got no folders"):
        image_folder(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(InvalidInput, match="empty folder"):
        image_folder(tmp_path)
    save(tmp_path / "a" / "1.png", grey(1))
    (tmp_path / "a" / "notes.txt").write_text("no image")
    with pytest.raises(InvalidInput, match=r"another file: notes\.txt; move it away"):
        image_folder(tmp_path)
    (tmp_path / "a" / "notes.txt").unlink()
    (tmp_path / "a" / "more.png").mkdir()
    with pytest.raises(InvalidInput, match=r"a folder: more\.png"):
        image_folder(tmp_path)
    (tmp_path / "a" / "more.png").rmdir()
    os.mkfifo(tmp_path / "a" / "pipe.png")
    with pytest.raises(InvalidInput, match=r"another file: pipe\.png"):
        image_folder(tmp_path)


def test_links_may_not_lead_out(tmp_path: Path) -> None:
    outside = save(tmp_path / "secret" / "1.png", grey(1))
    root = tmp_path / "set"
    inside = save(root / "a" / "1.png", grey(1))
    link = root / "a" / "2.png"
    link.symlink_to(inside)
    assert len(image_folder(root)) == 2
    for target in (outside, Path("../../secret/1.png"), tmp_path / "missing.png", link):
        link.unlink()
        link.symlink_to(target)
        with pytest.raises(InvalidInput, match="got a link that leads out"):
            image_folder(root)
    link.unlink()
    (root / "b").symlink_to(outside.parent)
    with pytest.raises(InvalidInput, match="got a link that leads out"):
        image_folder(root)


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a" / "1.png", grey(1))
    for limit in (15, 5):  # above the limit Pillow warns, above twice the limit it raises
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(InvalidInput, match="exceeds limit"):
            image_folder(tmp_path)


def test_the_name_says_the_format(tmp_path: Path) -> None:
    save(tmp_path / "a" / "1.png", grey(1), format="BMP")
    with pytest.raises(InvalidInput, match="readable image"):
        image_folder(tmp_path)


@given(position=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.booleans())
def test_a_broken_file_is_an_error_or_an_image(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int, *, cut: bool
) -> None:
    path = save(tmp_path_factory.mktemp("folder") / "a" / "1.png", grey(7))
    contents = bytearray(path.read_bytes())
    position %= len(contents)
    contents[position] = value
    path.write_bytes(contents[:position] if cut else contents)
    try:
        samples = image_folder(path.parent.parent)
    except InvalidInput:
        return
    assert samples.images.shape[1] in (1, 3)
