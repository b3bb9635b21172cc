"""Strategies of mask logs: plans of small complete logs, written by the real writer."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from fgmf.mask_log import Expectation, Manifest
from fgmf.mask_log.keeping import keep_head
from fgmf.mask_log.manifest import write_manifest
from fgmf.mask_log.packs import SampleBatch
from fgmf.mask_log.places import LogDirectory
from fgmf.mask_log.rows import ArrayForm, Layout
from fgmf.mask_log.writing import StreamWriter

if TYPE_CHECKING:
    from pathlib import Path

    from fgmf.types import Json


@dataclass(frozen=True, kw_only=True)
class MaskLogPlan:
    """A log that is not written yet.

    Attributes:
        streams: One per process that would write.
        steps: Of each stream, a batch each.
        batch_size: Samples of a batch.
        side: Of the grid of the mask; inputs have twice as many pixels a side.
        seed: Fixes inputs and masks.
    """

    streams: int
    steps: int
    batch_size: int
    side: int
    seed: int

    def write(self, directory: Path) -> str:
        """Write the log.

        Args:
            directory: Where there is none yet.

        Returns:
            The digest of its head: keep it outside the log and give it to `verify_log`.

        Raises:
            MaskLogUnwritable: The directory cannot be written.

        Randomness: inputs and masks from the seed; the salts of the rows are fresh each time.
        """
        names = [f"train-{at}" for at in range(self.streams)]
        expected = Expectation(steps=self.steps, sample_count=self.steps * self.batch_size)
        manifest = Manifest(run="planned", streams=dict.fromkeys(names, expected))
        log = LogDirectory(path=directory)
        write_manifest(log, manifest)
        for number, name in enumerate(names):
            writer = StreamWriter(log, name, manifest)
            for step in range(self.steps):
                writer.append_batch(self._batch(number, step), _body(step))
            writer.close()
        return keep_head(log, manifest).digest

    def _batch(self, stream: int, step: int) -> SampleBatch:
        draw = random.Random(f"{self.seed} {stream} {step}")  # noqa: S311 - contents of a test
        side, count = self.side, self.batch_size
        layout = Layout(
            id_bytes=0,
            input=ArrayForm(name="input", dtype="float32", shape=(1, 2 * side, 2 * side)),
            arrays=(ArrayForm(name="grid", dtype="float32", shape=(1, side, side)),),
            layer={"m_min": 0.5, "name": "mask", "size": [2 * side] * 2, "upsampling_version": 1},
        )
        grids = [draw.uniform(0.01, 1.0) for _ in range(count * side * side)]
        inputs = [draw.random() for _ in range(count * 4 * side * side)]
        return SampleBatch(
            layout=layout,
            ids=list(range(step * count, (step + 1) * count)),
            inputs=memoryview(struct.pack(f"<{len(inputs)}f", *inputs)),
            arrays={"grid": memoryview(struct.pack(f"<{len(grids)}f", *grids))},
        )


def mask_logs() -> st.SearchStrategy[MaskLogPlan]:
    """Plans of small complete logs; shrinks to one stream with one sample."""
    return st.builds(
        MaskLogPlan,
        streams=st.integers(1, 2),
        steps=st.integers(1, 4),
        batch_size=st.integers(1, 3),
        side=st.integers(1, 3),
        seed=st.integers(0, 2**16 - 1),
    )


def _body(step: int) -> dict[str, Json]:
    return {
        "ids": "given",
        "pass": 0,
        "purpose": "forward",
        "skipped": {},
        "step": step,
        "training": True,
        "weights": None,
    }
