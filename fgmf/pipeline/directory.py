"""The directory that a training writes to, and the lock that keeps a second one out."""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fgmf.canonical import write_atomically
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class TrainingDirectory:
    """Names of the files of a training.

    Attributes:
        path: The directory.
    """

    path: Path

    @property
    def recipe(self) -> Path:
        """A copy of the recipe file."""
        return self.path / "recipe.toml"

    @property
    def manifest(self) -> Path:
        """What the training was."""
        return self.path / "manifest.json"

    @property
    def checkpoint(self) -> Path:
        """From which it goes on; gone when it is finished."""
        return self.path / "checkpoint.pt"

    @property
    def weights(self) -> Path:
        """Of the model at the end."""
        return self.path / "weights.safetensors"

    @property
    def metrics(self) -> tuple[Path, ...]:
        """Numbers, as they come and by epoch."""
        return self.path / "metrics.jsonl", self.path / "metrics.csv"

    @property
    def pattern(self) -> Path:
        """Which weights are gone at the end, where the recipe prunes."""
        return self.path / "pattern.safetensors"

    @property
    def mask_log(self) -> Path:
        """Evidence of masks."""
        return self.path / "mask-log"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other trainings out of the directory, which is made if it is missing.

        Raises:
            InvalidInput: Another one is in it, or nothing can be written to it.
        """
        import filelock

        lock = filelock.FileLock(self.path / ".lock")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise InvalidInput(
                f"expected {self.path} for this training alone, got another that is running there"
            ) from error
        except OSError as error:
            raise InvalidInput(
                f"expected an output directory that can be written to, got {self.path}: "
                f"{error.strerror or error}"
            ) from error
        try:
            yield
        finally:
            lock.release()

    @property
    def _files(self) -> tuple[Path, ...]:
        return (
            self.recipe,
            self.manifest,
            self.checkpoint,
            self.weights,
            self.pattern,
            *self.metrics,
        )

    def prepare(self, *, restart: bool) -> None:
        """Make way for a training: refuse files that none wrote, remove what a crash left torn.

        Args:
            restart: Also remove what an earlier training wrote; other files stay.

        Raises:
            InvalidInput: Files of these names that no training wrote; with `restart`, also a mask
                log, which is evidence and is not removed.
        """
        if os.path.lexists(self.manifest):
            self._check_manifest(restart=restart)
        elif found := [path.name for path in self._files if os.path.lexists(path)]:
            raise InvalidInput(
                f"expected an output directory of trainings alone at {self.path}, got "
                f"{', '.join(found)} without the manifest of a training; move them away, or name "
                "another output"
            )
        names = "|".join(re.escape(path.name) for path in self._files)
        torn = re.compile(rf"\.({names})\.[0-9a-f]{{16}}")
        for path in self.path.iterdir():
            if torn.fullmatch(path.name) and path.is_file():
                path.unlink()
        if restart:
            self._clear()

    def _check_manifest(self, *, restart: bool) -> None:
        """A damaged or foreign one is named where it is read, but nothing beside it is removed."""
        if not restart:
            return
        try:
            document = json.loads(self.manifest.read_bytes())
        except (OSError, ValueError):
            document = None
        form = document.get("format") if isinstance(document, dict) else None
        if not str(form).startswith("fgmf-training/"):
            raise InvalidInput(
                f"expected the manifest of a training at {self.manifest}, got a damaged one, or "
                "another file of this name, beside which nothing is removed; move it away together "
                "with the other files, or name another output"
            )

    def _clear(self) -> None:
        if self.mask_log.exists():
            raise InvalidInput(
                f"expected no mask log at {self.mask_log}, which is evidence and is never removed "
                "here, got one; move it away, or train into another directory"
            )
        others = (path for path in self._files if path != self.manifest)
        for path in (*others, self.manifest):  # last: the rest of a crash is a training's
            path.unlink(missing_ok=True)

    def write_manifest(self, document: dict[str, Any]) -> None:
        """Write the manifest, readable."""
        text = json.dumps(document, indent=2, allow_nan=False) + "\n"
        write_atomically(self.manifest, text.encode())


def file_digest(path: Path) -> str:
    """Return ``sha256:<hex>`` of a file's bytes."""
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
