"""What people and queries see of a log."""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING

import pytest
import torch
from mask_log_layers import sgam
from mask_logs import write_log
from typer.testing import CliRunner

from fgmf.cli.application import application
from fgmf.errors import BrokenRecord, InvalidInput
from fgmf.mask_log import LogContents, MaskLog
from fgmf.mask_log.erasing import erase_sample
from fgmf.mask_log.exporting import COLUMNS, export_index
from fgmf.mask_log.samples import SampleFilter, read_samples
from fgmf.reporting.mask_log_pages import write_pages

if TYPE_CHECKING:
    from pathlib import Path


def _log(path: Path, *, inputs: bool = True, ids: tuple[str, str] = ("a", "b")) -> Path:
    model = sgam()
    with MaskLog(path, contents=LogContents(inputs=inputs)).attach(model) as log:
        for step in range(3):
            with log.batch(step=step, sample_ids=ids):
                log.predicted(model(torch.rand(2, 1, 8, 8)))
    return path


def test_samples_are_read_with_their_predictions(tmp_path: Path) -> None:
    samples = list(read_samples(_log(tmp_path / "log")))
    assert [(s.body["step"], s.sample) for s in samples] == [
        (step, name) for step in range(3) for name in ("a", "b")
    ]
    assert all(s.prediction in {0, 1, 2} for s in samples)
    assert set(samples[0].arrays) == {"grid", "input"}


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (SampleFilter(sample="a"), 3),
        (SampleFilter(first_step=1), 4),
        (SampleFilter(last_step=0), 2),
        (SampleFilter(first_step=1, last_step=1, sample="b"), 1),
        (SampleFilter(stream="other"), 0),
        (SampleFilter(purpose="teaching"), 0),
    ],
)
def test_filters(tmp_path: Path, wanted: SampleFilter, count: int) -> None:
    assert len(list(read_samples(_log(tmp_path / "log"), wanted))) == count


def test_a_broken_log_is_not_shown(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    pack = log.directory.pack("train-0", 0)
    contents = bytearray(pack.read_bytes())
    contents[-1] ^= 1
    pack.write_bytes(contents)
    with pytest.raises(BrokenRecord, match="fgmf log verify"):
        list(read_samples(log.path))
    with pytest.raises(BrokenRecord):
        export_index(log.path, tmp_path / "index.sqlite")
    assert not list(tmp_path.glob("*index*"))


@pytest.mark.parametrize("inputs", [True, False])
def test_pages_hold_everything_and_fetch_nothing(tmp_path: Path, inputs: bool) -> None:
    path = _log(tmp_path / "log", inputs=inputs, ids=("<script>alert(1)</script>", "b"))
    pages = write_pages(read_samples(path), tmp_path / "pages", size=4, facts={"run": "<b>r</b>"})
    assert [page.name for page in pages] == ["page-00001.html", "page-00002.html"]
    first, second = (page.read_text() for page in pages)
    assert "<script" not in first
    assert "&lt;script&gt;" in first
    assert "<b>r</b>" not in first
    assert first.count("<img ") == 4 * (5 if inputs else 2)
    assert set(re.findall(r'(?:src|href)="([^"]{0,5})', first + second)) == {"data:", "page-"}
    assert 'href="page-00002.html"' in first
    assert 'href="page-00001.html"' in second


def test_an_empty_page_says_so(tmp_path: Path) -> None:
    (page,) = write_pages([], tmp_path, size=4, facts={})
    assert "No sample." in page.read_text()


def test_an_erased_sample_is_shown_as_erased(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", steps=1)
    erase_sample(log.path, 0, reason="on request")
    first, second = read_samples(log.path)
    assert (first.sample, first.input_digest, first.arrays) == (None, "", {})
    assert second.sample == 1
    (page,) = write_pages([first], tmp_path, size=4, facts={})
    assert "erased" in page.read_text()


def test_the_index_is_a_table(tmp_path: Path) -> None:
    path = _log(tmp_path / "log")
    assert export_index(path, tmp_path / "index.sqlite") == 6
    connection = sqlite3.connect(tmp_path / "index.sqlite")
    rows = connection.execute("SELECT step, sample FROM samples WHERE sample = 'a'").fetchall()
    connection.close()
    assert rows == [(0, "a"), (1, "a"), (2, "a")]
    with pytest.raises(InvalidInput, match="which is there"):
        export_index(path, tmp_path / "index.sqlite")
    with pytest.raises(InvalidInput, match="ends in"):
        export_index(path, tmp_path / "index.csv")


def test_the_index_in_parquet(tmp_path: Path) -> None:
    from pyarrow import parquet

    assert export_index(_log(tmp_path / "log"), tmp_path / "index.parquet") == 6
    table = parquet.read_table(tmp_path / "index.parquet")
    assert table.column_names == list(COLUMNS)
    assert table["sample"].to_pylist() == ["a", "b"] * 3


def test_the_commands(tmp_path: Path) -> None:
    path, runner = _log(tmp_path / "log"), CliRunner()
    shown = runner.invoke(application, ["log", "show", str(path), "--sample", "a", "--limit", "2"])
    assert shown.exit_code == 0, shown.output
    assert shown.output.count(" a ") == 2
    assert "more" in shown.output
    pages = tmp_path / "pages"
    done = runner.invoke(application, ["log", "show", str(path), "--html", str(pages)])
    assert done.exit_code == 0, done.output
    assert (pages / "page-00001.html").is_file()
    output = str(tmp_path / "index.sqlite")
    done = runner.invoke(application, ["log", "export", str(path), "--output", output])
    assert "6 rows" in done.output
