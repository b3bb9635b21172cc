"""Who errs where a file and its source differ: both against the same network in float64.

For each network of the export study, on 1000 clean images and 1000 adversarial ones (PGD on the
source): the largest difference of a logit between source and file, and of each from float64, with
ONNX Runtime's levels of graph optimisation. `all`, its default, rearranges convolutions in memory
and with that the order of sums; the lower ones don't.

`python -m benchmarks.export_parity` writes `benchmarks/results/export_parity.json`.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from benchmarks.export_models import ARCHITECTURES, KINDS, load
from benchmarks.export_study import cell, folder, name_of
from benchmarks.fashion_models import EPSILON, held_out
from fgmf.canonical import write_atomically
from fgmf.training import Ascent, climb_loss

RESULTS = Path(__file__).parent / "results" / "export_parity.json"
_LEVELS = {
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}


def _file_logits(path: Path, images: torch.Tensor, level: str) -> torch.Tensor:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = _LEVELS[level]
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    parts = [session.run(None, {"images": part.numpy()})[0] for part in images.split(250)]
    return torch.from_numpy(np.concatenate(parts))


def _logits(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([network(part) for part in images.split(250)])


def _largest(apart: torch.Tensor) -> float:
    return float(apart.abs().max())


def _compared(architecture: str, kind: str, count: int) -> dict:
    cell(architecture, kind, 0.0)  # makes the file
    path, test = folder() / f"{name_of(architecture, kind, 0.0)}.onnx", held_out(0, count)
    network = load(architecture, kind).eval().requires_grad_(requires_grad=False)
    exact = copy.deepcopy(network).double()
    ascent = Ascent(epsilon=EPSILON, steps=10, step=EPSILON / 4, bounds=(0, 1))
    draws = torch.Generator().manual_seed(1)
    moved = climb_loss(network, test.images, test.labels, ascent, draws=draws)
    found = {}
    for name, images in (("clean", test.images), ("adversarial", moved.detach())):
        true, source = _logits(exact, images.double()), _logits(network, images)
        row = {"largest_logit": _largest(true), "source_to_float64": _largest(source - true)}
        for level in _LEVELS:
            file = _file_logits(path, images, level)
            row[level] = {
                "source_to_file": _largest(source - file),
                "file_to_float64": _largest(file - true),
                "other_classes": int((file.argmax(1) != source.argmax(1)).sum()),
            }
        found[name] = row
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for architecture in ARCHITECTURES:
        for kind in KINDS:
            rows = _compared(architecture, kind, asked.images)
            found[f"{architecture} {kind}"] = rows
            for name, row in rows.items():
                pairs = [(n, row[n]["source_to_file"], row[n]["file_to_float64"]) for n in _LEVELS]
                levels = "  ".join(f"{n} {gap:.2e} ({error:.2e})" for n, gap, error in pairs)
                print(
                    f"{architecture:<6} {kind:<8} {name:<11} |logit| {row['largest_logit']:5.1f} "
                    f"source to float64 {row['source_to_float64']:.2e}  file: {levels}",
                    flush=True,
                )
    write_atomically(RESULTS, (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
