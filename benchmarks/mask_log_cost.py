"""What does logging every mask of a training run cost, and how fast is a log verified?

    python -m benchmarks.mask_log_cost [--part training|verifying] [--records N]
        [--steps N] [--quick] [--output FILE]

Training: SGAM in front of a small CNN, 28x28 images, one record per batch, every step logged, grids
and input digests of all samples. The log's own CPU time (the hook; the log's thread falls into it
or into the step, which is why the ratio of whole steps stands beside it) over that of a step
without a log; steps with and without alternate. Verifying: records of one sample each, in a process
of its own, as the gate does, CPU time and peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.pairing import machine_facts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.mask_log import MaskLog
    from fgmf.mask_log.offers import OfferedMask
    from fgmf.mask_log.settings import Durability
    from fgmf.sgam import Sgam
    from fgmf.types import Json

BATCHES = (64, 128)
DURABILITIES: tuple[Durability, ...] = ("checkpoint", "record")


def _model() -> Sgam:
    import torch
    from torch import nn

    from fgmf.sgam import Sgam

    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 49, 10),
    )
    return Sgam.wrap(backbone, channels=1)


@contextmanager
def _timed_hooks(log: MaskLog) -> Iterator[list[float]]:
    """Measure what the log itself does, in CPU time of the whole process."""
    spent: list[float] = []
    original = log._take  # noqa: SLF001 - the hook is what is measured

    def timed(name: str, offer: OfferedMask) -> None:
        started = time.process_time()
        original(name, offer)
        spent.append(time.process_time() - started)

    vars(log)["_take"] = timed
    yield spent


def training_cost(batch: int, durability: Durability, *, steps: int) -> dict[str, float]:
    """Train some steps with a log and, in turn, without; CPU time of both."""
    import torch

    from fgmf.mask_log import Expectation, LogOutcome, Manifest, MaskLog, WriterSettings, verify_log

    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    images, labels = torch.rand(batch, 1, 28, 28), torch.randint(0, 10, (batch,))
    ids = list(range(batch))

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    for _ in range(5):
        step()
    bare, logged = [], []
    with TemporaryDirectory() as place:
        manifest = Manifest(streams={"main": Expectation(steps=steps)})
        settings = WriterSettings(durability=durability, checkpoint_records=100)
        log = MaskLog(Path(place) / "log", manifest=manifest, settings=settings).attach(model)
        with _timed_hooks(log) as hooks, log:
            for number in range(steps):
                started = time.process_time()
                with log.batch(step=number, sample_ids=ids):
                    step()
                logged.append(time.process_time() - started)
                listeners = model.layer._listeners  # noqa: SLF001 - the step without a log
                kept = dict(listeners)
                listeners.clear()
                started = time.process_time()
                step()
                bare.append(time.process_time() - started)
                listeners.update(kept)
        size = sum(f.stat().st_size for f in (Path(place) / "log").rglob("*") if f.is_file())
        assert verify_log(Path(place) / "log").outcome is LogOutcome.COMPLETE
    return {
        "batch": batch,
        "steps": steps,
        "step_ms": 1e3 * statistics.median(bare),
        "hook_ms": 1e3 * statistics.median(hooks),
        "share": sum(hooks) / sum(bare),
        "whole_step_ratio": statistics.median(a / b for a, b in zip(logged, bare, strict=True)),
        "bytes_per_sample": size / steps / batch,
    }


def write_records(path: Path, count: int) -> None:
    """Write a log with one sample in each record."""
    from fgmf.mask_log import Expectation, Manifest
    from fgmf.mask_log.keeping import keep_head
    from fgmf.mask_log.manifest import write_manifest
    from fgmf.mask_log.packs import SampleBatch
    from fgmf.mask_log.places import LogDirectory
    from fgmf.mask_log.rows import ArrayForm, Layout
    from fgmf.mask_log.writing import StreamWriter

    layout = Layout(
        id_bytes=0,
        input=ArrayForm(name="input", dtype="float32", shape=(1, 28, 28)),
        arrays=(ArrayForm(name="grid", dtype="float32", shape=(1, 7, 7)),),
        layer={"m_min": 0.5, "name": "layer", "size": [28, 28], "upsampling_version": 1},
    )
    manifest = Manifest(streams={"main": Expectation(steps=count, sample_count=count)})
    directory = LogDirectory(path=path)
    write_manifest(directory, manifest)
    writer = StreamWriter(directory, "main", manifest)
    draw = random.Random(0)
    inputs = memoryview(draw.randbytes(28 * 28 * 4))
    for step in range(count):
        grid = memoryview(draw.randbytes(7 * 7 * 4))
        batch = SampleBatch(layout=layout, ids=[step], inputs=inputs, arrays={"grid": grid})
        body: dict[str, Json] = {
            "ids": "given",
            "pass": 0,
            "purpose": "forward",
            "skipped": {},
            "step": step,
        }
        writer.append_batch(batch, {**body, "training": False, "weights": "0" * 64})
    writer.close()
    keep_head(directory, manifest)


_VERIFY = """
import json, re, sys, time
from pathlib import Path
from fgmf.mask_log import MaskLook, VerifySettings, verify_log
class Stops(MaskLook):
    def take(self, batch):
        super().take(batch)
        if self.samples == int(sys.argv[3]):
            raise InterruptedError
state = Path(sys.argv[2]) if sys.argv[2:] else None
if sys.argv[3:]:
    try:
        settings = VerifySettings(observers=[Stops()], state=state, state_records=1000)
        verify_log(Path(sys.argv[1]), settings)
    except InterruptedError:
        pass
started = time.process_time()
report = verify_log(Path(sys.argv[1]), VerifySettings(observers=[MaskLook()], state=state))
spent = time.process_time() - started
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
resumption = report.resumption
facts = {"outcome": str(report.outcome), "records": report.records}
facts["taken_up"] = 0 if resumption is None else resumption.records
print(json.dumps({**facts, "seconds": spent, "peak_kib": peak}))
"""


def verifying_cost(count: int, place: Path) -> dict[str, Any]:
    """Verify a log of so many records in a process of its own."""
    path = place / str(count)
    started = time.process_time()
    write_records(path, count)
    written = time.process_time() - started
    facts = _verified(path)
    state = str(place / "state")
    kept, resumed = _verified(path, state), _verified(path, state, str(count * 9 // 10))
    facts["records_per_second"] = facts["records"] / facts["seconds"]
    facts["written_per_second"] = count / written
    facts["kept_per_second"] = kept["records"] / kept["seconds"]
    facts["kept_peak_kib"] = kept["peak_kib"]
    facts["taken_up"], facts["resumed_seconds"] = resumed["taken_up"], resumed["seconds"]
    return facts


def _verified(*arguments: Path | str) -> dict[str, Any]:
    """Verify a log, with a state, gone on from after so many samples."""
    done = subprocess.run(
        [sys.executable, "-c", _VERIFY, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    facts: dict[str, Any] = json.loads(done.stdout)
    assert facts["outcome"] == "complete", facts
    return facts


def measure_training(steps: int) -> dict[str, dict[str, float]]:
    """Train with each batch size and durability, and print."""
    training = {}
    for batch in BATCHES:
        for durability in DURABILITIES:
            result = training_cost(batch, durability, steps=steps)
            training[f"{batch} {durability}"] = result
            print(
                f"batch {batch}, disk at each {durability}: step {result['step_ms']:.2f} ms, "
                f"log {result['hook_ms']:.3f} ms = {100 * result['share']:.2f} % of it "
                f"(whole step {result['whole_step_ratio']:.3f}), "
                f"{result['bytes_per_sample']:.0f} bytes per sample"
            )
    return training


def measure_verifying(counts: tuple[int, int]) -> dict[str, object]:
    """Verify a smaller and a larger log, and print."""
    with TemporaryDirectory() as place:
        facts = [verifying_cost(count, Path(place)) for count in counts]
    for entry in facts:
        print(
            f"{entry['records']} records verified at {entry['records_per_second']:.0f}/s, "
            f"peak {entry['peak_kib']} KiB; written at {entry['written_per_second']:.0f}/s"
        )
        print(
            f"  with a state {entry['kept_per_second']:.0f}/s, peak {entry['kept_peak_kib']} KiB; "
            f"gone on after {entry['taken_up']} of them in {entry['resumed_seconds']:.2f} s, "
            f"instead of {entry['seconds']:.2f} s"
        )
    growth = facts[1]["peak_kib"] / facts[0]["peak_kib"]
    print(f"peak memory of {counts[1]} over {counts[0]} records: {growth:.3f}")
    return {"logs": facts, "memory_growth": growth}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=["training", "verifying", "both"], default="both")
    parser.add_argument("--records", type=int, default=100_000, help="and ten times as many")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    document: dict[str, object] = {"machine": machine_facts()}
    if options.part != "verifying":
        document["training"] = measure_training(40 if options.quick else options.steps)
    if options.part != "training":
        count = 1_000 if options.quick else options.records
        document["verifying"] = measure_verifying((count, 10 * count))
    if options.output:
        options.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
