"""What does the installed plugin add to a pytest run without gates?

One empty test file, run by fresh interpreters: with the plugin, without it (``-p no:fgmf``),
and without it once more (A/A). CPU time of the child process.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.pairing import arguments, paired_ratio, publish, run_rounds

OFF = ("-p", "no:fgmf")


def pytest_run(directory: Path, *options: str) -> float:
    """CPU seconds of one pytest run in a fresh interpreter."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def main() -> None:
    options = arguments(__doc__ or "", rounds=30)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
        (directory / "pytest.ini").write_text("[pytest]\n")
        times = run_rounds(
            {
                "without": lambda: pytest_run(directory, *OFF),
                "without again (A/A)": lambda: pytest_run(directory, *OFF),
                "with the plugin": lambda: pytest_run(directory),
            },
            rounds=options.rounds,
        )
    added = sorted(
        1000 * (mine - other)
        for mine, other in zip(times["with the plugin"], times["without"], strict=True)
    )
    publish(
        "CPU time of a pytest run without gates, over the same run without the plugin",
        [
            paired_ratio("with the plugin", times, floor="without"),
            paired_ratio("without again (A/A)", times, floor="without"),
        ],
        {
            "added milliseconds (median)": round(added[len(added) // 2], 1),
            "rounds": options.rounds,
        },
        times,
        options.output,
    )


if __name__ == "__main__":
    main()
