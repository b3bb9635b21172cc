"""Where a training writes: a directory that it has alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fgmf.errors import InvalidInput
from fgmf.pipeline.directory import TrainingDirectory

if TYPE_CHECKING:
    from pathlib import Path


def test_one_training_at_a_time(tmp_path: Path) -> None:
    with (
        TrainingDirectory(path=tmp_path / "out").locked(),
        pytest.raises(InvalidInput, match="got another that is running there"),
        TrainingDirectory(path=tmp_path / "out").locked(),
    ):
        pass  # pragma: no cover
    with TrainingDirectory(path=tmp_path / "out").locked():  # the first one is gone
        assert (tmp_path / "out").is_dir()


@pytest.mark.parametrize("place", ["file", "file/out"])
def test_what_is_no_directory_is_named(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    wanted = TrainingDirectory(path=tmp_path / place)
    with (
        pytest.raises(
            InvalidInput, match=r"an output directory that can be written to, got .*file"
        ),
        wanted.locked(),
    ):
        pass  # pragma: no cover
    assert (tmp_path / "file").read_text() == "precious"
