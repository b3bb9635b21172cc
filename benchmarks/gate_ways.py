"""Are the verdicts of a gate file the same, however it is run?

Twelve gates on the robust network of `examples/digits` and 300 of the 1797 digits: fixed and
sequential, about the data set and its distribution, each by attacks from the clean image 2 points
below and above the truth, and once by the default suite, which draws. `fgmf check` runs them as
they are, with another batch size and in two processes, and pytest runs them with `-n 2`. The
verdicts are compared, less their cost and the command that repeats them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.digit_study import train_reader, write_result
from benchmarks.gate_runs import ATTACKS, EPSILON, MODES, POINTS, Subject, all_digits, subject_of
from fgmf import Classifier

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT: Final = Path(__file__).resolve().parent.parent


def gate_file(truth: float, *, seed: int, images: int) -> str:
    """A gate in every mode on both sides, and one per mode by the default suite, which draws."""
    lines = [
        f"schema = 1\nseed = {seed}",
        '[model]\nfactory = "reader:load"\nbounds = [0, 1]\ndevice = "cpu"',
        '[data]\npath = "digits.npz"',
    ]
    own = json.dumps(ATTACKS).replace('": ', '" = ').replace("{", "{ ").replace("}", " }")
    kinds = (("below", -POINTS, own), ("above", POINTS, own), ("suite", 0.0, None))
    for mode in MODES[:4]:
        for name, points, attacks in kinds:
            rows = {
                "name": json.dumps(
                    f"{mode.describe()} {name}".replace(", ", "-").replace(" ", "-")
                ),
                "kind": '"robustness"',
                "norm": '"linf"',
                "epsilon": EPSILON,
                "min_robust_accuracy": truth + points,
                "images": images,
                "sequential": json.dumps(mode.sequential),
                "population": json.dumps(mode.population),
                **({} if attacks is None else {"attacks": attacks}),
            }
            gate = "\n".join(f"{key} = {value}" for key, value in rows.items())
            lines.append("[[gate]]\n" + gate)
    return "\n".join(lines) + "\n"


READER = """
from pathlib import Path
from safetensors.numpy import load_file
from benchmarks.digit_study import reader_with

def load():
    return reader_with(load_file(Path(__file__).with_name("reader.safetensors")))
"""
LEFT_OUT: Final = ("cost", "reproduce")
"""The second is the command that repeats a gate: it names `fgmf` or pytest."""
CHECK: Final = ("fgmf", "check", "--report", "json:report.json")
PYTEST: Final = ("pytest", "-q", "-p", "no:cacheprovider")
TORCHRUN: Final = ("torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m")
WAYS: Final[dict[str, tuple[str, ...]]] = {
    "batch size 128, one process": CHECK,
    "batch size 17": (*CHECK, "--batch-size", "17"),
    "two processes": (*TORCHRUN, *CHECK),
    "pytest -n 2": (*PYTEST, "-n", "2", "--fgmf-report", "json:report.json"),
}


def verdicts_of(folder: Path, way: Sequence[str]) -> list[dict[str, Any]]:
    """Run the gates of a folder; return what is compared of their verdicts, by name."""
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    variables = {key: value for key, value in os.environ.items() if key not in {"CI", "RANK"}}
    variables |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-m", *way],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    if not report.is_file():
        raise SystemExit(f"{' '.join(way)} wrote no report:\n{ended.stdout}{ended.stderr}")
    found = json.loads(report.read_text(encoding="utf-8"))["verdicts"]
    return sorted(
        ({key: value for key, value in one.items() if key not in LEFT_OUT} for one in found),
        key=lambda one: str(one["gate"]),
    )


def differences(first: Sequence[Any], other: Sequence[Any]) -> Iterator[str]:
    """Say what is not the same in two lists of verdicts."""
    names = [[one["gate"] for one in found] for found in (first, other)]
    if names[0] != names[1]:
        yield f"gates {names[0]} and {names[1]}"
        return
    for one, two in zip(first, other, strict=True):
        keys = sorted(key for key in one.keys() | two.keys() if one.get(key) != two.get(key))
        yield from (f"{one['gate']}: {key}" for key in keys)


def compared_ways(subject: Subject, *, seeds: int, images: int) -> list[dict[str, Any]]:
    """Run gate files in every way, and compare with the first."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "reader.py").write_text(READER, encoding="utf-8")
        weights = subject.classifier.module.state_dict()
        save_file(
            {key: value.contiguous() for key, value in weights.items()},
            folder / "reader.safetensors",
        )
        samples = subject.samples
        np.savez(
            folder / "digits.npz", images=samples.images.numpy(), labels=samples.labels.numpy()
        )
        for seed in range(seeds):
            text = gate_file(subject.truth, seed=seed, images=images)
            (folder / "fgmf.toml").write_text(text, encoding="utf-8")
            (first, usual), *others = WAYS.items()
            expected = verdicts_of(folder, usual)
            reasons = [one["reason"] for one in expected if one["outcome"] == "error"]
            if reasons or not expected:
                raise SystemExit(f"expected gates that can be measured, got {reasons}")
            for way, command in others:
                found = list(differences(expected, verdicts_of(folder, command)))
                rows.append({"way": way, "seed": seed, "gates": len(expected), "not same": found})
                print(
                    f"{way:<16} seed {seed}: {len(expected)} verdicts as with {first}, but for "
                    f"{len(found)} {found[:3] or ''}",
                    flush=True,
                )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2, help="run seeds, from 0")
    parser.add_argument("--quick", action="store_true", help="one seed, few images and epochs")
    parser.add_argument("--output", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = train_reader("robust", epochs=4 if options.quick else None)
    subject = subject_of(Classifier(model, bounds=(0, 1), device="cpu"), all_digits())
    seeds, images = (1, 60) if options.quick else (options.seeds, 300)
    rows = compared_ways(subject, seeds=seeds, images=images)
    if options.output is not None:
        result = {"truth": subject.truth, "sample": images, "rows": rows}
        write_result(options.output, __doc__ or "", result)
    if any(row["not same"] for row in rows):
        raise SystemExit("verdicts depend on how the gates are run")


if __name__ == "__main__":
    main()
