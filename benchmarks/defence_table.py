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
import math
import statistics
import subprocess
import sys
import time
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from filelock import FileLock, Timeout
from scipy.stats import t as student

from benchmarks.defence_cells import CELLS, MEASURES, Cell, some
from benchmarks.defence_plan import ALL, MORE, PARTS, SOME, TRANSFORMED, tuned
from benchmarks.defence_recipes import BACKBONES, DEFENCES, ROWS, Backbone, new_network
from benchmarks.digit_study import write_result
from benchmarks.fashion_models import Shelf
from benchmarks.pairing import paired_ratio, run_rounds
from fgmf.training import Schedule, Teacher, train


def times_file(backbone: Backbone) -> Path:
    """What `--part times --output` wrote, for the column."""
    return CELLS.parent / f"defence_times{'' if backbone == 'cnn' else f'_{backbone}'}.json"


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
        defence = DEFENCES[name]
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
    contestants = {name: partial(epoch, name) for name in DEFENCES if name in names}
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


def kept(backbone: Backbone, name: str, images: int) -> list[dict[str, Any]]:
    """Cells of a row that have a robust accuracy, by seed."""
    rate = tuned(backbone, name)
    if rate is None:
        return []
    cells = [
        Cell(backbone=backbone, defence=name, rate=rate, seed=seed, images=images).found()
        | {"seed": seed, "rate": rate}
        for seed in MORE
    ]
    return [cell for cell in cells if robust_of(cell) is not None]


def robust_of(cell: dict[str, Any]) -> float | None:
    """On all test images where that was measured, else on the first 2000."""
    for name in (ALL, SOME):
        if name in cell:
            return float(cell[name]["share"])
    return None


def numbers(cells: list[dict[str, Any]], key: str) -> list[float]:
    """One number of each cell that has it."""
    path = key.split(".")
    found = []
    for cell in cells:
        value: Any = cell
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if value is not None:
            found.append(float(value))
    return found


def mean(values: list[float], digits: int = 3) -> str:
    return f"{statistics.fmean(values):.{digits}f}" if values else "-"


def spread(values: list[float]) -> str:
    """Mean, and lowest and highest seed."""
    if len(values) < 2:
        return mean(values)
    return f"{mean(values)} ({min(values):.3f}-{max(values):.3f})"


def time_of(backbone: Backbone, name: str) -> str:
    """Median of the part `times` where that was kept."""
    file = times_file(backbone)
    known = json.loads(file.read_text()).get(name) if file.is_file() else None
    return f"{known['over standard'][0]:.2f}" if known else "-"


def table(backbone: Backbone, images: int) -> str:
    lines = [
        "| defence | rate | seeds | clean | robust | test images | masking | stability | deletion "
        "| negative | largest | time | memory |",
        "|" + " --- |" * 13,
    ]
    for name in ROWS:
        cells = kept(backbone, name, images)
        if not cells:
            continue
        tested = 10_000 if all(ALL in cell for cell in cells) else 2000
        outcomes = [cell["masking"]["outcome"] for cell in cells if "masking" in cell]
        flagged = sum(outcome != "pass" for outcome in outcomes)
        robust = [value for cell in cells if (value := robust_of(cell)) is not None]
        lines.append(
            f"| {name} | {cells[0]['rate']:g} | {len(cells)} | {mean(numbers(cells, 'clean'))} "
            f"| {spread(robust)} | {tested} | {flagged} of {len(outcomes)} "
            f"| {spread(numbers(cells, 'stability'))} "
            f"| {mean(numbers(cells, 'deletion.gain'))} "
            f"| {mean(numbers(cells, 'curvature.negative'), 2)} "
            f"| {mean(numbers(cells, 'curvature.largest'), 2)} "
            f"| {time_of(backbone, name)} "
            f"| {mean(numbers(cells, 'training.peak memory, MB above the images'), 0)} |"
        )
    return "\n".join(lines)


def paired(
    backbone: Backbone, images: int, mine: str, other: str
) -> dict[str, tuple[float, float, float, int]]:
    """Differences seed by seed: mean, its 95 % interval (Student's t), and how many seeds."""
    first = {cell["seed"]: cell for cell in kept(backbone, mine, images)}
    second = {cell["seed"]: cell for cell in kept(backbone, other, images)}
    both = sorted(set(first) & set(second))
    readers = {
        "robust": lambda cell: cell.get(ALL, {}).get("share"),
        "robust 2000": lambda cell: cell.get(SOME, {}).get("share"),
        "clean": lambda cell: cell.get("clean"),
        "stability": lambda cell: cell.get("stability"),
        "deletion": lambda cell: cell.get("deletion", {}).get("gain"),
    }
    found: dict[str, tuple[float, float, float, int]] = {}
    for what, read in readers.items():
        pairs = [(read(first[seed]), read(second[seed])) for seed in both]
        differences = [a - b for a, b in pairs if a is not None and b is not None]
        if len(differences) < 2:
            continue
        middle = statistics.fmean(differences)
        half = statistics.stdev(differences) / math.sqrt(len(differences))
        half *= float(student.ppf(0.975, len(differences) - 1))
        found[what] = (middle, middle - half, middle + half, len(differences))
    return found


def differences(backbone: Backbone, images: int) -> dict[str, Any]:
    pairs = [("scor-pio-2", other) for other in ("pgd-7", "n-fgsm", "amo")] + [("amo", "pgd-7")]
    return {f"{mine} - {other}": paired(backbone, images, mine, other) for mine, other in pairs}


def show() -> dict[str, Any]:
    """Print all tables that have rows."""
    result: dict[str, Any] = {}
    for backbone in BACKBONES:
        for images in (10_000, 60_000):
            text = table(backbone, images)
            if text.count("\n") < 2:
                continue
            print(f"\n{backbone}, {images} training images\n\n{text}\n")
            result[f"{backbone} {images}"] = found = differences(backbone, images)
            for pair, values in found.items():
                for what, (middle, lower, upper, seeds) in values.items():
                    print(
                        f"{pair}, {what}: {middle:+.4f} [{lower:+.4f}, {upper:+.4f}], {seeds} seeds"
                    )
    return result


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
