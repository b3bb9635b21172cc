"""Fashion-MNIST from local files, and its checked download (from memory: no network)."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from fgmf.datasets import download_fashion_mnist, fashion, fashion_mnist
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

NAMES = tuple(fashion._PUBLISHED)


def idx(array: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def contents(count: int = 5) -> dict[str, bytes]:
    """The four files with a few images each; the test part has one image less."""
    files = {}
    for prefix, size in (("train", count), ("t10k", count - 1)):
        images = np.arange(size * 784).reshape(size, 28, 28).astype(np.uint8)
        labels = np.arange(size, dtype=np.uint8)
        files[f"{prefix}-images-idx3-ubyte.gz"] = gzip.compress(idx(images), mtime=0)
        files[f"{prefix}-labels-idx1-ubyte.gz"] = gzip.compress(idx(labels), mtime=0)
    return files


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(autouse=True)
def no_system_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed on this machine must not matter."""
    monkeypatch.setattr(fashion, "SYSTEM_DIRECTORY", tmp_path / "system")


class TestReading:
    @pytest.mark.parametrize(("split", "count"), [("train", 5), ("test", 4)])
    def test_parts(self, tmp_path: Path, split: Any, count: int) -> None:
        samples = fashion_mnist(write(tmp_path / "set", contents()), split=split)
        assert samples.images.shape == (count, 1, 28, 28)
        assert samples.images.dtype is torch.float32
        assert samples.labels.tolist() == list(range(count))
        assert samples.labels.dtype is torch.int64
        assert samples.images[0, 0, 0, :3].tolist() == torch.tensor([0, 1, 2]).div(255).tolist()
        assert samples.images.max() == 1

    def test_unpacked_files(self, tmp_path: Path) -> None:
        files = {name[:-3]: gzip.decompress(data) for name, data in contents().items()}
        assert len(fashion_mnist(str(write(tmp_path / "set", files)), split="test")) == 4

    def test_default_folders(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path / "system", contents(5))
        assert len(fashion_mnist()) == 5
        write(tmp_path / "own" / "fashion-mnist", contents(4))
        monkeypatch.setenv("FGMF_DATA", str(tmp_path / "own"))
        assert len(fashion_mnist()) == 4
        write(tmp_path / "own", contents(3))
        assert len(fashion_mnist()) == 3

    def test_missing_files_say_where_to_get_them(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match=r"train-images.*system.*download_fashion_mnist"):
            fashion_mnist()
        with pytest.raises(InvalidInput, match=f"in {tmp_path}, got no such file"):
            fashion_mnist(tmp_path)

    def test_parts_that_do_not_belong_together(self, tmp_path: Path) -> None:
        files = contents()
        files[NAMES[1]] = files[NAMES[3]]
        with pytest.raises(InvalidInput, match=r"5 images .* and 4 labels"):
            fashion_mnist(write(tmp_path / "set", files))

    def test_unknown_split(self) -> None:
        with pytest.raises(InvalidInput, match="got 'validation'"):
            fashion_mnist(split="validation")  # type: ignore[arg-type]


class Server:
    """Answers for the network."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
        self.files = dict(files)
        self.asked: list[str] = []
        published = {
            name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()
        }
        monkeypatch.setattr(fashion, "_PUBLISHED", published)
        monkeypatch.setattr(fashion, "_opened", self.opened)

    def opened(self, url: str) -> io.BytesIO:
        self.asked.append(url)
        return io.BytesIO(self.files[url.rpartition("/")[2]])


class TestDownload:
    def test_fetches_what_can_then_be_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server = Server(monkeypatch, contents())
        folder = download_fashion_mnist(tmp_path / "new", source_url="https://example.org/set/")
        assert server.asked[0] == f"https://example.org/set/{next(iter(server.files))}"
        assert sorted(path.name for path in folder.iterdir()) == sorted(server.files)
        assert len(fashion_mnist(folder, split="test")) == 4

    def test_right_files_are_kept_and_others_replaced(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server = Server(monkeypatch, contents())
        download_fashion_mnist(tmp_path)
        server.asked.clear()
        (tmp_path / NAMES[2]).write_bytes(b"damaged")
        download_fashion_mnist(tmp_path)
        assert server.asked == [f"{fashion.SOURCE_URL}/{NAMES[2]}"]
        assert len(fashion_mnist(tmp_path, split="test")) == 4

    @pytest.mark.parametrize("change", [b"", b"longer", None])
    def test_changed_files_are_not_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: bytes | None
    ) -> None:
        server = Server(monkeypatch, contents())
        right = server.files[NAMES[0]]
        wrong = right + change if change else bytes(len(right)) if change is None else b""
        server.files[NAMES[0]] = wrong
        with pytest.raises(
            InvalidInput, match=rf"expected {len(right)} bytes with SHA-256 \w{{64}}"
        ):
            download_fashion_mnist(tmp_path / "new")
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize("url", ["http://example.org", "file:///etc", "ftp://x", "https:x"])
    def test_only_https(self, tmp_path: Path, url: str) -> None:
        with pytest.raises(InvalidInput, match="https://"):
            download_fashion_mnist(tmp_path, source_url=url)

    def test_published_files_are_complete(self) -> None:
        assert len(NAMES) == 4
        assert all(len(digest) == 64 and size > 0 for size, digest in fashion._PUBLISHED.values())
