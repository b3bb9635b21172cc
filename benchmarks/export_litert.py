"""LiteRT files of the study's networks: parity with their sources, size, speed of the interpreter.

Whole networks, and the same with 90 % of their units taken out (not trained again: parity and speed
do not depend on that), on 1000 clean test images and 1000 adversarial ones (PGD on the source).

`python -m benchmarks.export_litert` needs `pip install 'pytest-fgmf[export,litert]'` and writes
`benchmarks/results/export_litert.json`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.export_models import ARCHITECTURES, load
from benchmarks.export_study import folder
from benchmarks.fashion_models import EPSILON, held_out
from fgmf.canonical import write_atomically
from fgmf.classifier import Classifier
from fgmf.export import verify_export
from fgmf.export.latency import measure_latency
from fgmf.export.litert import export_litert, litert_logits, litert_runner
from fgmf.sparsity import compact, find_units, magnitude_scores, prune_units
from fgmf.training.perturbations import Ascent, climb_loss

RESULTS = Path(__file__).parent / "results" / "export_litert.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=31)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    test, found = held_out(0, asked.images), {}
    for architecture in ARCHITECTURES:
        network, files = load(architecture, "robust").requires_grad_(requires_grad=False), {}
        units = find_units(network, test.images[:2])
        pattern = prune_units(network, units, magnitude_scores(network), 0.9)
        smaller = compact(network, test.images[:64], pattern=pattern).model
        rows = {}
        for share, model in {"0": network, "0.9": smaller}.items():
            path = folder() / f"{architecture}-{share}.tflite"
            classifier = Classifier(model, bounds=(0, 1), device="cpu")
            exported = export_litert(classifier, test.images[:16], path)
            ascent = Ascent(epsilon=EPSILON, steps=10, step=EPSILON / 4, bounds=(0, 1))
            draws = torch.Generator().manual_seed(1)
            moved = climb_loss(model, test.images, test.labels, ascent, draws=draws)
            with torch.no_grad():
                gaps = {
                    name: float((model(images) - litert_logits(path, images)).abs().max())
                    for name, images in (("clean_gap", test.images), ("attacked_gap", moved))
                }
            files[share] = path
            rows[share] = {
                **gaps,
                "bytes": exported.bytes,
                "parameters": sum(p.numel() for p in model.parameters()),
                "verified": str(verify_export(path).outcome),
            }
        make = {
            share: (lambda path=path: litert_runner(path, test.images[:1]))
            for share, path in files.items()
        }
        report = measure_latency(make, rounds=asked.rounds)
        found[architecture] = {"files": rows, "latency": asdict(report) | {"noise": report.noise}}
        for share, row in rows.items():
            timing = report.timings[share]
            print(
                f"{architecture:<7} {share:<4} {row['bytes']:>8} B  gap {row['clean_gap']:.1e} "
                f"{row['attacked_gap']:.1e}  {timing.microseconds:7.1f} us {timing.speedup:5.2f}x "
                f"{row['verified']}"
            )
        control = report.control
        print(
            f"{architecture:<7} A/A  {control.speedup:.2f} [{control.lower:.2f}, "
            f"{control.upper:.2f}]",
            flush=True,
        )
    write_atomically(RESULTS, (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
