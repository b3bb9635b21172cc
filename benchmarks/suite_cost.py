"""CPU time of `quick` and `standard` beside Foolbox's PGD-40 x 5, and memory with 10 x the images.

Both attack the same images of the same network; each round runs both, and PGD twice (A/A). Two
ways to restart are compared: Foolbox's ``repeat``, which attacks every image five times, and a
loop that gives each restart only the images that are left, which is what a careful user writes.

Memory is the highest resident size of a fresh process while the attack runs: the mark is set back
after data and network are loaded (Linux alone can do that).
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks.autoattack_peers import THREAT
from benchmarks.compositions import COMPOSITIONS
from benchmarks.fashion_models import Shelf, held_out
from benchmarks.pairing import machine_facts, paired_ratio, run_rounds
from fgmf.attacks.criteria import Criterion
from fgmf.attacks.own import AttackTask

if TYPE_CHECKING:
    from collections.abc import Callable

RESTARTS = 5
BLOCK = 500
BARS = {"undefended": 0.15, "trades": 0.6}


def own_on(name: str, network: str, images: int) -> int:
    """Run a composition, block by block; return how many images it leaves."""
    model, samples = Shelf.usual().load(network), held_out(0, images)
    count = 0
    for block in torch.arange(images).split(BLOCK):
        left = block
        for attack in COMPOSITIONS[name].attacks.values():
            task = AttackTask(
                images=samples.images[left],
                criterion=Criterion(kind="misclassification", labels=samples.labels[left]),
                threat=THREAT,
                keys=tuple(map(str, left.tolist())),
            )
            left = left[~attack.run(model, task).broken]
        count += len(left)
    return count


def foolbox_on(network: str, images: int, *, careful: bool) -> int:
    """Run Foolbox's PGD-40 with 5 restarts; return how many images it leaves."""
    import foolbox

    samples = held_out(0, images)
    model = foolbox.PyTorchModel(
        Shelf.usual().load(network), bounds=THREAT.bounds, device=torch.device("cpu")
    )
    torch.manual_seed(0)
    attack = foolbox.attacks.LinfPGD(steps=40)
    left = torch.arange(images)
    rounds = RESTARTS if careful else 1
    chosen = attack if careful else attack.repeat(RESTARTS)
    for _ in range(rounds):
        kept = [
            ~chosen(model, samples.images[at], samples.labels[at], epsilons=THREAT.epsilon)[2]
            for at in left.split(128)
        ]
        left = left[torch.cat(kept)]
    return len(left)


def compared(network: str, images: int, rounds: int) -> dict[str, object]:
    """Time all of them in rounds."""
    left: dict[str, int] = {}

    def timed(name: str, run: Callable[[], int]) -> Callable[[], float]:
        def contestant() -> float:
            begun = time.process_time()
            left[name] = run()
            return time.process_time() - begun

        return contestant

    repeated = lambda: foolbox_on(network, images, careful=False)  # noqa: E731
    times = run_rounds(
        {
            "quick": timed("quick", lambda: own_on("quick", network, images)),
            "standard": timed("standard", lambda: own_on("standard", network, images)),
            "foolbox": timed("foolbox", repeated),
            "foolbox again (A/A)": timed("foolbox again (A/A)", repeated),
            "foolbox, survivors only": timed(
                "foolbox, survivors only", lambda: foolbox_on(network, images, careful=True)
            ),
        },
        rounds=rounds,
    )
    names = ("quick", "standard", "foolbox again (A/A)", "foolbox, survivors only")
    ratios = [paired_ratio(name, times, floor="foolbox") for name in names]
    asked = BARS[network]
    hits = {}
    for ratio in ratios:
        print(f"{network:<11} {ratio.describe()}", flush=True)
        if ratio.name in COMPOSITIONS:
            hits[ratio.name] = ratio.median <= asked and left[ratio.name] <= left["foolbox"]
    print(f"{network:<11} left of {images}: {left}", flush=True)
    for name, hit in hits.items():
        verdict = "HIT" if hit else "MISSED"
        print(f"{network:<11} {name}, at most {asked} and no more left: {verdict}", flush=True)
    return {
        "network": network,
        "images": images,
        "left": left,
        "ratios": [dict(vars(ratio)) for ratio in ratios],
        "asked": asked,
        "hits": hits,
        "seconds": times,
    }


def peak_memory(network: str, images: int) -> int:
    """Peak of a fresh process that runs `standard`, in KiB."""
    command = [sys.executable, "-m", "benchmarks.suite_cost", "--peak", network, str(images)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(ended.stdout)


def main() -> None:
    """Print the ratios, and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--networks", nargs="+", default=list(BARS), choices=list(BARS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        network, images = options.peak[0], int(options.peak[1])
        own_on("standard", network, 50)
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        own_on("standard", network, images)
        status = Path("/proc/self/status").read_text(encoding="ascii")
        print(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
        return
    results = [compared(network, options.images, options.rounds) for network in options.networks]
    few, many = (peak_memory("undefended", images) for images in (500, 5000))
    verdict = "HIT" if many <= 1.1 * few else "MISSED"
    print(f"peak with 500 images {few} KiB, with 5000 {many} KiB: {many / few:.3f}  {verdict}")
    if options.output is not None:
        document = {
            "results": results,
            "peak_kib": {"500": few, "5000": many},
            "machine": machine_facts(),
        }
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
