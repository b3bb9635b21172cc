"""LiteRT files of the study's networks: parity with their sources, size, speed of the interpreter.

Whole networks, the same with 90 % of their units taken out, and with 90 % of their single weights
at zero, stored densely and sparsely (not trained again: parity, size and speed do not depend on
that), on 1000 clean test images and 1000 adversarial ones (PGD on the source).

`python -m benchmarks.export_litert` needs `pip install 'pytest-fgmf[export,litert]'` and writes
`benchmarks/results/export_litert.json`.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks.export_models import ARCHITECTURES, load
from benchmarks.export_study import folder
from benchmarks.fashion_models import EPSILON, held_out
from fgmf.canonical import write_atomically
from fgmf.classifier import Classifier
from fgmf.export import ExportSettings, verify_export
from fgmf.export.latency import measure_latency
from fgmf.export.litert import export_litert, litert_logits, litert_runner
from fgmf.sparsity import compact, find_units, keep_highest, magnitude_scores, prune_units
from fgmf.training.perturbations import Ascent, climb_loss

if TYPE_CHECKING:
    from torch import nn

    from fgmf.datasets import Samples

RESULTS = Path(__file__).parent / "results" / "export_litert.json"


def _variants(architecture: str, test: Samples) -> dict[str, tuple[nn.Module, ExportSettings]]:
    """By name: what is exported, and how it is stored."""
    whole = load(architecture, "robust").requires_grad_(requires_grad=False)
    units, scores = find_units(whole, test.images[:2]), magnitude_scores(whole)
    pattern = prune_units(whole, units, scores, 0.9)
    smaller = compact(whole, test.images[:64], pattern=pattern).model
    zeros = copy.deepcopy(whole)
    keep_highest(scores, 0.9, scope="layer").apply(zeros)
    dense, sparse = ExportSettings(), ExportSettings(storage="sparse")
    return {
        "whole": (whole, dense),
        "units 90%": (smaller, dense),
        "zeros 90%": (zeros, dense),
        "zeros 90%, sparse": (zeros, sparse),
    }


def _row(model: nn.Module, settings: ExportSettings, path: Path, test: Samples) -> dict:
    exported = export_litert(
        Classifier(model, bounds=(0, 1), device="cpu"), test.images[:16], path, settings
    )
    ascent = Ascent(epsilon=EPSILON, steps=10, step=EPSILON / 4, bounds=(0, 1))
    draws = torch.Generator().manual_seed(1)
    moved = climb_loss(model, test.images, test.labels, ascent, draws=draws)
    with torch.no_grad():
        gaps = {
            name: float((model(images) - litert_logits(path, images)).abs().max())
            for name, images in (("clean_gap", test.images), ("attacked_gap", moved))
        }
    return {
        **gaps,
        "bytes": exported.bytes,
        "bytes_compressed": len(gzip.compress(path.read_bytes(), mtime=0)),
        "sparse_tensors": len(exported.sparse),
        "parameters": sum(p.numel() for p in model.parameters()),
        "verified": str(verify_export(path).outcome),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=31)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    test, found = held_out(0, asked.images), {}
    for architecture in ARCHITECTURES:
        files, rows = {}, {}
        for name, (model, settings) in _variants(architecture, test).items():
            slug = name.replace("%", "").replace(", ", "-").replace(" ", "-")
            files[name] = folder() / f"{architecture}-{slug}.tflite"
            rows[name] = _row(model, settings, files[name], test)
        make = {
            name: (lambda path=path: litert_runner(path, test.images[:1]))
            for name, path in files.items()
        }
        busy = os.getloadavg()[0]
        report = measure_latency(make, rounds=asked.rounds)
        facts = {"noise": report.noise, "load_before": busy}
        found[architecture] = {"files": rows, "latency": asdict(report) | facts}
        for name, row in rows.items():
            timing = report.timings[name]
            gaps = f"{row['clean_gap']:.1e} {row['attacked_gap']:.1e}"
            print(
                f"{architecture:<7} {name:<18} {row['bytes']:>8} B, {row['bytes_compressed']:>7} "
                f"with gzip, gap {gaps} {timing.microseconds:7.1f} us {timing.speedup:5.2f}x "
                f"[{timing.lower:.2f}, {timing.upper:.2f}] {row['verified']}"
            )
        control = report.control
        print(
            f"{architecture:<7} A/A  {control.speedup:.2f} [{control.lower:.2f}, "
            f"{control.upper:.2f}]  load {busy:.1f} on {os.cpu_count()} CPUs",
            flush=True,
        )
    write_atomically(RESULTS, (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
