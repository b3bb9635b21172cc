"""Does the memory of a gate grow with the number of its images?

`RobustnessGate.check` with the default suite on 500 and on 5000 images of Fashion-MNIST, each in a
fresh process (Linux alone): the highest resident size from the call of the gate on. The caller
holds 5000 images in both, and a gate of 50 has run before. With `--whole` our own attacks get
all images at once, as before there were blocks.
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import torch

from benchmarks.autoattack_peers import THREAT
from benchmarks.fashion_models import Shelf, held_out
from benchmarks.pairing import machine_facts
from fgmf import Classifier
from fgmf.gates import RobustnessGate
from fgmf.robustness import measure
from fgmf.verdict import Outcome

BAR = 1.1
FEW, TIMES = 500, 10


def peak_of(network: str, images: int, held: int) -> int:
    """Highest resident size of this process while a gate runs, in KiB."""
    samples = held_out(0, held)
    classifier = Classifier(Shelf.usual().load(network), bounds=THREAT.bounds, device="cpu")

    def check(count: int) -> None:
        gate = RobustnessGate(
            norm=THREAT.norm, epsilon=THREAT.epsilon, min_robust_accuracy=0.5, images=count
        )
        verdict = gate.check(classifier, samples.images, samples.labels)
        if verdict.outcome is Outcome.ERROR or verdict.image_count != count:
            raise SystemExit(f"expected {count} measured images, got: {verdict.reason}")

    check(50)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    check(images)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    if found is None:
        raise SystemExit("expected a system that counts the highest resident size")
    return int(found[1])


def in_fresh_process(network: str, images: int, held: int, *, whole: bool) -> int:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.gate_memory", "--network", network]
    command += ["--peak", str(images), str(held), *(["--whole"] if whole else [])]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="undefended")
    parser.add_argument("--few", type=int, default=FEW, help="images; ten times as many beside")
    parser.add_argument("--whole", action="store_true", help="all images in one block")
    parser.add_argument("--peak", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        block = options.peak[1] if options.whole else measure._BLOCK  # noqa: SLF001
        with patch.object(measure, "_BLOCK", block):
            print(peak_of(options.network, *options.peak))
        return
    many = TIMES * options.few
    peaks = {
        count: in_fresh_process(options.network, count, many, whole=options.whole)
        for count in (options.few, many)
    }
    ratio = peaks[many] / peaks[options.few]
    hit = ratio <= BAR
    print(
        f"{options.network}: peak with {options.few} images {peaks[options.few]} KiB, with {many} "
        f"{peaks[many]} KiB: {ratio:.3f}, at most {BAR}: {'HIT' if hit else 'MISSED'}"
    )
    if options.output is not None:
        document = {
            "network": options.network,
            "whole": options.whole,
            "peak_kib": peaks,
            "machine": machine_facts(),
        }
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
