"""Train both models, gate both with pytest, and show that only the robust one passes.

    python examples/digits/demo.py

Exit code 0 if the standard model failed its gate and the robust one passed, else 1. Nothing is
taken from an earlier run. Well under a minute on two cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPORTS = HERE / ".fgmf"
GATE = "robust-linf"
# Gate file and the outcome that its gate must have. The failing one last: its evidence stays.
EXPECTED = {"fgmf.toml": "pass", "fgmf-standard.toml": "fail"}


def run(title: str, *arguments: str) -> int:
    """Run Python with arguments in this folder; what it prints goes straight to the user."""
    print(f"\n=== {title}\n$ {Path(sys.executable).name} {' '.join(arguments)}", flush=True)
    # So small a network runs fastest on one thread, and a busy machine then slows it least.
    environment = {"OMP_NUM_THREADS": "1"} | os.environ
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=HERE, env=environment, check=False).returncode


def outcome_of(report: Path) -> tuple[str, list[str]]:
    """Outcome of the gate in a report, and what to show of it; no report is no outcome."""
    try:
        verdicts = json.loads(report.read_text(encoding="utf-8"))["verdicts"]
        (verdict,) = (entry for entry in verdicts if entry["gate"] == GATE)
        lower, upper = verdict["interval"]["lower"], verdict["interval"]["upper"]
        measured = f"robust accuracy {verdict['measured']:.3f} [{lower:.3f}, {upper:.3f}]"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return "missing", [f"no verdict in {report}: {error!r}"]
    pictures = [f"broken images: {HERE / name}" for name in verdict["artifacts"] if ".png" in name]
    return verdict["outcome"], [f"{measured}, required {verdict['threshold']}", *pictures]


def main() -> int:
    """Run the three steps and judge whether they went as they should."""
    start = time.perf_counter()
    if run("Training on 1348 real images of digits", "-m", "digit_reader.train"):
        return 1
    REPORTS.mkdir(exist_ok=True)
    as_expected, lines = True, []
    for gate_file, expected in EXPECTED.items():
        report = REPORTS / f"{Path(gate_file).stem}.json"
        page = report.with_suffix(".html")
        report.unlink(missing_ok=True)
        code = run(
            f"Gates of {gate_file} (this one should {expected})",
            *("-m", "pytest", "--fgmf-gatefile", gate_file),
            *("--fgmf-report", f"json:{report.relative_to(HERE)}"),
            *("--fgmf-report", f"html:{page.relative_to(HERE)}"),
        )
        outcome, (words, *more) = outcome_of(report)
        right = (outcome, code) == (expected, int(expected == "fail"))
        as_expected &= right
        lines.append(f"{outcome.upper():4}  {gate_file:20} {words}")
        more += [f"report: {report}", f"to look at: {page}"]
        more.append("as it should" if right else "NOT AS IT SHOULD")
        lines += [f"      {line}" for line in more]
    print(f"\n=== Both models, one gate ({time.perf_counter() - start:.0f} s)", *lines, sep="\n")
    return 0 if as_expected else 1


if __name__ == "__main__":
    sys.exit(main())
