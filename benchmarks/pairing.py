"""Paired measurements: every contestant once per round, in random order, compared as ratios."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_RESAMPLES = 4000
_LIBRARIES = ("pytest-fgmf", "torch", "foolbox", "captum", "numpy", "pytest")


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A contestant's time over the floor's, paired by round.

    Attributes:
        name: The contestant.
        median: Median of the ratios of one round.
        lower: Lower end of the 95 % bootstrap interval of the median.
        upper: Upper end.
    """

    name: str
    median: float
    lower: float
    upper: float

    def describe(self) -> str:
        return f"{self.name:<34} {self.median:6.3f}  [{self.lower:.3f}, {self.upper:.3f}]"


def run_rounds(
    contestants: Mapping[str, Callable[[], float]], *, rounds: int, seed: int = 0
) -> dict[str, list[float]]:
    """Time every contestant once per round, in an order drawn anew for each round.

    Each contestant returns its own time in seconds. One untimed round warms up.
    """
    order = random.Random(seed)
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for round_number in range(rounds + 1):
        names = list(contestants)
        order.shuffle(names)
        for name in names:
            seconds = contestants[name]()
            if round_number:
                times[name].append(seconds)
        _progress(round_number, rounds)
    return times


def paired_ratio(name: str, times: Mapping[str, list[float]], *, floor: str) -> Ratio:
    """Compare a contestant with the floor, round by round."""
    pairs = zip(times[name], times[floor], strict=True)
    ratios = [mine / other for mine, other in pairs]
    draw = random.Random(1)
    medians = sorted(
        statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(_RESAMPLES)
    )
    return Ratio(
        name=name,
        median=statistics.median(ratios),
        lower=medians[int(0.025 * _RESAMPLES)],
        upper=medians[int(0.975 * _RESAMPLES) - 1],
    )


def machine_facts() -> dict[str, object]:
    """What a reader needs to judge the figures."""
    versions = {}
    for library in _LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            versions[library] = "not installed"
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.system(),
        "libraries": versions,
    }


def arguments(description: str, *, rounds: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help="number of pairs")
    parser.add_argument("--output", type=Path, help="write the result as JSON")
    return parser.parse_args()


def publish(
    question: str,
    ratios: list[Ratio],
    facts: Mapping[str, object],
    times: Mapping[str, list[float]],
    output: Path | None,
) -> None:
    """Print the ratios and write them with everything needed to check them."""
    print(question)
    for ratio in ratios:
        print("  " + ratio.describe())
    for key, value in facts.items():
        print(f"  {key}: {value}")
    if output is not None:
        document = {
            "question": question,
            "ratios": [asdict(ratio) for ratio in ratios],
            "facts": dict(facts),
            "machine": machine_facts(),
            "seconds": {name: [round(t, 5) for t in each] for name, each in times.items()},
        }
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\rround {done}/{total}", end="" if done < total else "\n", file=sys.stderr)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
