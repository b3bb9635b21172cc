"""Small mask logs for tests, made without torch."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fgmf.mask_log import Expectation, Manifest
from fgmf.mask_log.keeping import keep_head
from fgmf.mask_log.manifest import write_manifest
from fgmf.mask_log.packs import SampleBatch
from fgmf.mask_log.places import LogDirectory
from fgmf.mask_log.rows import ArrayForm, Layout
from fgmf.mask_log.writing import StreamWriter

if TYPE_CHECKING:
    from pathlib import Path

    from fgmf.mask_log import WriterSettings

LAYOUT = Layout(
    id_bytes=0,
    input=ArrayForm(name="input", dtype="float32", shape=(1, 4, 4)),
    arrays=(ArrayForm(name="grid", dtype="float32", shape=(1, 2, 2)),),
    layer={"m_min": 0.5, "name": "mask", "size": [4, 4], "upsampling_version": 1},
)


def batch_of(ids: range, *, seed: int = 0, layout: Layout = LAYOUT) -> SampleBatch:
    """Samples with grids and inputs that depend on the seed and the first id."""
    draw = random.Random(f"{seed} {ids.start}")
    arrays = {form.name: _values(draw, form, len(ids)) for form in layout.arrays}
    inputs = memoryview(draw.randbytes(len(ids) * layout.input.byte_count))
    return SampleBatch(layout=layout, ids=list(ids), inputs=inputs, arrays=arrays)


def _values(draw: random.Random, form: ArrayForm, count: int) -> memoryview:
    """Numbers that masks and grids can have."""
    if form.dtype == "float32":
        numbers = [draw.uniform(0.01, 1.0) for _ in range(count * form.value_count)]
        return memoryview(struct.pack(f"<{len(numbers)}f", *numbers))
    return memoryview(draw.randbytes(count * form.byte_count))


def body_of(step: int, **changed: object) -> dict:
    """What a batch says beside its samples."""
    body = {
        "ids": "given",
        "pass": 0,
        "purpose": "forward",
        "skipped": {},
        "step": step,
        "training": True,
        "weights": None,
    }
    return {**body, **changed}


@dataclass(frozen=True, kw_only=True)
class WrittenLog:
    """A log, and the head that was kept elsewhere."""

    directory: LogDirectory
    manifest: Manifest
    head: str

    @property
    def path(self) -> Path:
        """Its directory."""
        return self.directory.path


def write_stream(
    directory: LogDirectory,
    stream: str,
    manifest: Manifest,
    *,
    steps: range,
    size: int = 2,
    settings: WriterSettings | None = None,
) -> StreamWriter:
    """Write some steps of a stream; it is left open."""
    writer = StreamWriter(directory, stream, manifest, settings=settings)
    for step in steps:
        ids = range(step * size, (step + 1) * size)
        writer.append_batch(batch_of(ids, seed=hash_of(stream)), body_of(step))
    return writer


def hash_of(text: str) -> int:
    """A number that is the same in every process."""
    return sum(text.encode())


def write_log(
    path: Path,
    *,
    streams: tuple[str, ...] = ("train-0",),
    steps: int = 4,
    size: int = 2,
    settings: WriterSettings | None = None,
    run: str = "run",
) -> WrittenLog:
    """Write a complete log."""
    expected = Expectation(steps=steps, sample_count=steps * size)
    manifest = Manifest(run=run, streams=dict.fromkeys(streams, expected))
    directory = LogDirectory(path=path)
    write_manifest(directory, manifest)
    for stream in streams:
        write_stream(
            directory, stream, manifest, steps=range(steps), size=size, settings=settings
        ).close()
    head = keep_head(directory, manifest)
    return WrittenLog(directory=directory, manifest=manifest, head=head.digest)
