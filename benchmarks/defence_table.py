"""All defences on Fashion-MNIST, each with its own learning rate: what do they buy, at what price?

    python -m benchmarks.defence_table                  # everything that is not measured yet: days
    python -m benchmarks.defence_table --part finalists --minutes 30
    python -m benchmarks.defence_table --tables         # what there is, and nothing else

Linf 0.1, first 10 000 training images, 10 epochs. The learning rate of each defence and network is
the one of `RATES` with the highest clean plus robust accuracy (suite `quick`) on 1000 other
training images, seed 11 (mean of three seeds for `COMPARED`); its neighbours are worse, those
farther away need not have run. Every cell is a file in `results/defences`; the next run goes on,
several may run at once.

clean       all 10 000 test images
robust      suite `standard`, first 2000 test images, or all of the finalists; where the gate
            refuses saturated logits, of the logits over the temperature of training
masking     the gate `gradient-masking` on 128 test images
stability   mean cosine of integrated gradients (16 midpoints from black, of the predicted class) at
            an image and at the same image under uniform noise of half the budget, 500 images
deletion    how much faster the answer falls when pixels become black in the order of integrated
            gradients than in random order, 500 images
negative    share of 64 images with negative curvature along one of 4 directions, step 1.5 (L2)
largest     median largest curvature of the loss, by differences over a step of 1 (L2)
time        `--part times`: an epoch of 1000 images over one of standard training, in pairs
variants    robust accuracy of each variant of the mask, first 1000 test images
memory      MB above the images, of the process that trained
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from filelock import FileLock, Timeout

from benchmarks.defence_cells import CELLS, MEASURES, Cell, some
from benchmarks.defence_plan import PARTS, TRANSFORMED
from benchmarks.defence_recipes import BACKBONES, DEFENCES, ROWS, Backbone, new_network
from benchmarks.defence_summary import show
from benchmarks.digit_study import write_result
from benchmarks.fashion_models import Shelf
from benchmarks.pairing import paired_ratio, run_rounds
from fgmf.training import Schedule, Teacher, train


def work(part: str, until: float, only: tuple[str, ...]) -> None:
    """Do what is left, each cell in a process of its own, so that memory is its own."""
    for task in PARTS[part]():
        cell, lacking = task.cell, task.lacking()
        if time.monotonic() > until:
            return
        if not lacking or (only and cell.defence not in only):
            continue
        lock = Shelf.usual().folder / "defences" / f"{cell.path.stem}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock, timeout=0):
                command = [sys.executable, "-m", "benchmarks.defence_table", "--one"]
                subprocess.run([*command, *map(str, astuple(cell)), *lacking], check=True)
        except Timeout:
            continue
        found = {name: cell.found()[name] for name in lacking}
        print(f"{cell.path.stem}: {json.dumps(found)}", flush=True)


def one(words: list[str]) -> None:
    """Tasks of one cell, in this process."""
    backbone, defence, rate, seed, images, *wanted = words
    tasks = [name.split() for name in wanted]
    known = all(what in MEASURES for what, *_ in tasks)
    if backbone not in BACKBONES or defence not in ROWS or not known:
        raise SystemExit(f"expected a network, a defence and a measure, got {words}")
    cell = Cell(
        backbone=cast("Backbone", backbone),
        defence=defence,
        rate=float(rate),
        seed=int(seed),
        images=int(images),
    )
    for what, *count in tasks:
        cell.measured(what, count=int(count[0]) if count else 0)


def times(backbone: Backbone, rounds: int, only: tuple[str, ...]) -> dict[str, Any]:
    """An epoch of each defence over one of standard training and one of PGD-7; both again (A/A)."""
    samples = some("train", 0, 1000)
    schedule = Schedule(epochs=1, peak_learning_rate=3e-3)

    def epoch(name: str) -> float:
        defence = ROWS[name]
        network = new_network(backbone, defence, 1)
        first = new_network(backbone, DEFENCES["standard"], 2)
        teacher = Teacher(name="first weights", model=first)
        recipe = defence.make(schedule, teacher if defence.teacher else None)
        begun = time.process_time()
        train(network, samples, recipe, seed=1)
        return time.process_time() - begun

    floors = ("standard", "pgd-7")
    known = DEFENCES if backbone == "cnn" else TRANSFORMED
    names = {*only, *floors} if only else set(known)
    contestants = {name: partial(epoch, name) for name in ROWS if name in names}
    contestants |= {f"{name} again": partial(epoch, name) for name in floors}
    found = run_rounds(contestants, rounds=rounds)
    ratios = {name: paired_ratio(name, found, floor="standard") for name in contestants}
    beside = {name: paired_ratio(name, found, floor="pgd-7") for name in contestants}
    return {
        name: {
            "over standard": [ratio.median, ratio.lower, ratio.upper],
            "over pgd-7": [beside[name].median, beside[name].lower, beside[name].upper],
        }
        for name, ratio in ratios.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", choices=(*PARTS, "times"), nargs="*", default=tuple(PARTS))
    parser.add_argument("--only", nargs="+", default=(), choices=tuple(ROWS), metavar="NAME")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin nothing after so long")
    parser.add_argument("--tables", action="store_true", help="measure nothing")
    parser.add_argument("--backbone", choices=BACKBONES, default="cnn", help="of times")
    parser.add_argument("--rounds", type=int, default=7, help="of times")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help="write differences, or times, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.one:
        one(options.one)
        return
    until = time.monotonic() + 60 * options.minutes
    found: dict[str, Any]
    if "times" in options.part:
        found = times(options.backbone, options.rounds, tuple(options.only))
        print(json.dumps(found, indent=1))
        if options.output is not None and options.output.is_file():
            found = json.loads(options.output.read_text()) | found
    else:
        for part in () if options.tables else options.part:
            work(part, until, tuple(options.only))
        found = show()
        print(f"cells: {len(list(CELLS.glob('*.json')))} in {CELLS.name}")
    if options.output is not None:
        write_result(options.output, "defence_table", found)


if __name__ == "__main__":
    main()
