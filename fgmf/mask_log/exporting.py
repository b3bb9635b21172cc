"""The index of a log as a table for queries: rebuildable, never evidence.

One row per sample and pass: where it stands, which step, which sample, the digests. No array and no
input leaves the log.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Final

from fgmf.errors import InvalidInput, MissingDependency
from fgmf.mask_log.samples import read_samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fgmf.mask_log.samples import LoggedSample

COLUMNS: Final = {
    "stream": "TEXT",
    "segment": "INTEGER",
    "record": "INTEGER",
    "row": "INTEGER",
    "at": "INTEGER",
    "step": "INTEGER",
    "pass": "INTEGER",
    "purpose": "TEXT",
    "training": "INTEGER",
    "layer": "TEXT",
    "sample": "TEXT",
    "erased": "INTEGER",
    "input_digest": "TEXT",
    "weights": "TEXT",
    "prediction": "INTEGER",
}
_CHUNK: Final = 10_000


def export_index(path: Path, output: Path) -> int:
    """Write the index of a log.

    Args:
        path: Directory of the log.
        output: A file that is not there: ``.sqlite`` (or ``.db``), or ``.parquet``.

    Returns:
        Number of the rows.

    Raises:
        InvalidInput: The file is there, or its name ends otherwise.
        BrokenRecord: The log is broken.
        MissingDependency: Parquet needs the package pyarrow.
    """
    if output.exists():
        raise InvalidInput(f"expected a new file, got {output}, which is there")
    if output.suffix in {".sqlite", ".db"}:
        write = _write_sqlite
    elif output.suffix == ".parquet":
        write = _write_parquet
    else:
        raise InvalidInput(f"expected a name that ends in .sqlite or .parquet, got {output.name!r}")
    temporary = output.with_name(f".{output.name}.part")
    try:
        temporary.unlink(missing_ok=True)
        count = write(path, temporary)
        temporary.replace(output)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return count


def _write_sqlite(path: Path, output: Path) -> int:
    columns = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items())
    holes = ", ".join("?" for _ in COLUMNS)
    connection = sqlite3.connect(output)
    count = 0
    try:
        connection.execute(f"CREATE TABLE samples ({columns})")
        for rows in _chunks(path):
            connection.executemany(f"INSERT INTO samples VALUES ({holes})", rows)  # noqa: S608 - only question marks
            count += len(rows)
        connection.execute('CREATE INDEX by_sample ON samples ("sample")')
        connection.execute('CREATE INDEX by_step ON samples ("stream", "step")')
        connection.commit()
    finally:
        connection.close()
    return count


def _write_parquet(path: Path, output: Path) -> int:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        message = "expected the package pyarrow for Parquet, got none; install pytest-fgmf[parquet]"
        raise MissingDependency(message) from error
    types = {"TEXT": pa.string(), "INTEGER": pa.int64()}
    schema = pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
    count = 0
    with parquet.ParquetWriter(output, schema) as writer:
        for rows in _chunks(path):
            columns = [list(column) for column in zip(*rows, strict=True)]
            writer.write_table(pa.table(columns, schema=schema))
            count += len(rows)
    return count


def _chunks(path: Path) -> Iterator[list[tuple[Any, ...]]]:
    rows: list[tuple[Any, ...]] = []
    for sample in read_samples(path):
        rows.append(_row(sample))
        if len(rows) == _CHUNK:
            yield rows
            rows = []
    if rows:
        yield rows


def _row(sample: LoggedSample) -> tuple[Any, ...]:
    body = sample.body
    erased = sample.sample is None
    return (
        sample.stream,
        sample.segment,
        sample.record,
        sample.row,
        sample.at,
        body["step"],
        body["pass"],
        body["purpose"],
        int(body["training"]),
        str(sample.layout.layer.get("name", "")),
        None if erased else str(sample.sample),
        int(erased),
        sample.input_digest or None,
        body["weights"],
        sample.prediction,
    )
