"""What does the installed plugin add to a pytest run without gates?

One empty test file, run by fresh interpreters; CPU time of the child process. Two environments
give the whole answer: ``--installed`` has pytest and this package from its wheel, ``--bare`` has
pytest alone. ``-p no:fgmf`` keeps the plugin out, but pytest still reads the list of files of
every distribution with plugins, so it hides a part of the cost. Without ``--bare`` the runs with
``-p no:fgmf`` are the floor.

Where bytecode can be written, pytest keeps the plugin's from one run to the next (warm). With
``--cold`` (``PYTHONDONTWRITEBYTECODE=1``, and nothing kept from before) each run compiles it again.
``--instructions`` counts instructions with valgrind instead, a figure without noise.
``--model-repository`` runs the smallest test that a repository with a model can have: it imports
torch and passes one batch through one layer. Both environments need torch then.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.pairing import paired_ratio, publish, run_rounds

if TYPE_CHECKING:
    from collections.abc import Callable

PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
OFF = ("-p", "no:fgmf")
CALLGRIND = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
NO_TEST = "def test_nothing():\n    pass\n"
MODEL_TEST = """import torch


def test_shape():
    layer = torch.nn.Linear(4, 2)
    assert layer(torch.zeros(3, 4)).shape == (3, 2)
"""
NOT_INSTALLED = "not installed"
SWITCHED_OFF = "installed, -p no:fgmf"
WITH = "with the plugin"


def again(name: str) -> str:
    """Name of the A/A control of a contestant."""
    return f"{name}, again (A/A)"


def environment(*, cold: bool) -> dict[str, str]:
    """Variables of the child: whether it may keep bytecode, and no paths of ours."""
    ours = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTEST_ADDOPTS"}
    variables = {name: value for name, value in os.environ.items() if name not in ours}
    variables["PYTHONHASHSEED"] = "0"
    if cold:
        variables["PYTHONDONTWRITEBYTECODE"] = "1"
    return variables


def run(command: list[str], directory: Path, *, cold: bool) -> str:
    """Run a child that must succeed; return what it said."""
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment(cold=cold),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout + done.stderr


def forget_bytecode(python: str, directory: Path) -> None:
    """Remove what pytest kept of the plugin from earlier runs."""
    code = "import pytest_fgmf; print(pytest_fgmf.__path__[0])"
    place = Path(run([python, "-c", code], directory, cold=True).strip())
    for kept in (place / "__pycache__").glob("*-pytest-*.pyc"):
        kept.unlink()


def cpu_seconds(python: str, directory: Path, *options: str, cold: bool) -> float:
    """CPU seconds of one pytest run in a fresh interpreter."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run([python, *PYTEST, *options], directory, cold=cold)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def instructions(python: str, directory: Path, *options: str, cold: bool) -> float:
    """Instructions of one pytest run, in millions; the same to the fourth digit each time."""
    said = run([*CALLGRIND, python, *PYTEST, *options], directory, cold=cold)
    return int(re.search(r"Collected : (\d+)", said)[1]) / 1e6


def contestants(options: argparse.Namespace, directory: Path) -> dict[str, Callable[[], float]]:
    """What is run, the floor first and its A/A control second."""
    measure = instructions if options.instructions else cpu_seconds

    def contestant(python: str, *extra: str) -> Callable[[], float]:
        return lambda: measure(python, directory, *extra, cold=options.cold)

    off = contestant(options.installed, *OFF)
    on = contestant(options.installed)
    if options.bare is None:
        return {SWITCHED_OFF: off, again(SWITCHED_OFF): off, WITH: on}
    bare = contestant(options.bare)
    return {NOT_INSTALLED: bare, again(NOT_INSTALLED): bare, SWITCHED_OFF: off, WITH: on}


def main() -> None:
    """Print the ratios, and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100, help="number of pairs")
    parser.add_argument("--installed", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--bare", metavar="PYTHON", help="of an environment without the package")
    parser.add_argument("--cold", action="store_true", help="no bytecode is kept")
    parser.add_argument("--instructions", action="store_true", help="count them with valgrind")
    parser.add_argument(
        "--model-repository", action="store_true", help="the test imports torch and runs a layer"
    )
    parser.add_argument("--output", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        test = MODEL_TEST if options.model_repository else NO_TEST
        (directory / "test_without_gates.py").write_text(test)
        (directory / "pytest.ini").write_text("[pytest]\n")
        if options.cold:
            forget_bytecode(options.installed, directory)
        times = run_rounds(contestants(options, directory), rounds=options.rounds)
    floor = next(iter(times))
    ratios = [paired_ratio(each, times, floor=floor) for each in times if each != floor]
    if floor != SWITCHED_OFF:
        over = paired_ratio(WITH, times, floor=SWITCHED_OFF)
        ratios.append(replace(over, name=f"{WITH}, over -p no:fgmf"))
    unit = "millions of instructions" if options.instructions else "milliseconds"
    factor = 1 if options.instructions else 1000
    publish(
        f"A pytest run without gates, over: {floor}",
        ratios,
        {
            "test": "imports torch" if options.model_repository else "empty",
            "bytecode": "compiled again in each run" if options.cold else "kept",
            f"{unit} (medians)": {
                each: round(factor * sorted(values)[len(values) // 2], 1)
                for each, values in times.items()
            },
            f"{unit} added (median of pairs)": {
                each: round(factor * added(times, each, floor), 1) for each in times
            },
            "rounds": options.rounds,
        },
        times,
        options.output,
    )


def added(times: dict[str, list[float]], name: str, floor: str) -> float:
    """Median of the differences, round by round."""
    differences = sorted(
        mine - other for mine, other in zip(times[name], times[floor], strict=True)
    )
    return differences[len(differences) // 2]


if __name__ == "__main__":
    main()
