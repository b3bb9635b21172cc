"""Every benchmark is run by tox and named in the benchmarks' README."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = sorted(
    path.stem
    for path in (ROOT / "benchmarks").glob("*.py")
    if 'if __name__ == "__main__":' in path.read_text()
)


def test_there_are_programs() -> None:
    assert {"gate_overhead", "determinism", "weak_masking"} <= set(PROGRAMS)


def test_tox_runs_each_of_them() -> None:
    tox = ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    commands = [
        tox[f"testenv:{name}"]["commands"] for name in ("bench", "bench-strength", "bench-litert")
    ]
    assert sorted(re.findall(r"benchmarks\.(\w+)", "".join(commands))) == PROGRAMS


def test_the_readme_asks_the_question_of_each() -> None:
    text = (ROOT / "benchmarks" / "README.md").read_text()
    assert sorted(set(re.findall(r"`python -m benchmarks\.(\w+)`", text))) == PROGRAMS
