"""How much faster the files of the export study are, with an A/A control, in one run each.

The robust networks of `benchmarks.export_models`, some share of their units taken out; they are not
trained again, since latency does not depend on the values of weights. One image per call, ONNX
Runtime with one thread; OpenVINO too where it is installed. CPU time, random order within each
round.

`python -m benchmarks.export_latency` writes `benchmarks/results/export_latency.json`.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.export_models import ARCHITECTURES, load
from benchmarks.export_study import folder, shares_of
from benchmarks.fashion_models import held_out
from fgmf.canonical import write_atomically
from fgmf.classifier import Classifier
from fgmf.export import export_onnx
from fgmf.export.engines import engines_for, runner_of
from fgmf.export.latency import measure_latency
from fgmf.sparsity import compact, find_units, magnitude_scores, prune_units

RESULTS = Path(__file__).parent / "results" / "export_latency.json"


def _file(architecture: str, share: float) -> Path:
    """The file of a network without a share of its units."""
    path = folder() / f"latency-{architecture}-{round(100 * share)}.onnx"
    if not path.is_file():
        network, images = load(architecture, "robust"), held_out(0, 16).images
        if share:
            found = find_units(network, images[:2])
            pattern = prune_units(network, found, magnitude_scores(network), share)
            network = compact(network, images, pattern=pattern).model
        export_onnx(Classifier(network, bounds=(0, 1), device="cpu"), images, path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=61)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    image, found = held_out(0, 1).images, {}
    for engine, version in engines_for(".onnx").items():
        for architecture in ARCHITECTURES:
            files = {f"{share:g}": _file(architecture, share) for share in shares_of(architecture)}
            make = {
                share: (lambda path=path, engine=engine: runner_of(engine, path, image))
                for share, path in files.items()
            }
            load = os.getloadavg()[0]
            report = measure_latency(make, rounds=asked.rounds)
            facts = {"noise": report.noise, "load_before": load, "version": version}
            found.setdefault(engine, {})[architecture] = asdict(report) | facts
            for share, timing in report.timings.items():
                print(
                    f"{engine:<12} {architecture:<7} {share:<5} {timing.microseconds:8.1f} us  "
                    f"{timing.speedup:5.2f}x [{timing.lower:.2f}, {timing.upper:.2f}]"
                )
            control = report.control
            print(
                f"{engine:<12} {architecture:<7} A/A   {control.microseconds:8.1f} us  "
                f"{control.speedup:5.2f}x [{control.lower:.2f}, {control.upper:.2f}]  "
                f"load {load:.1f} on {os.cpu_count()} CPUs",
                flush=True,
            )
    write_atomically(RESULTS, (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
