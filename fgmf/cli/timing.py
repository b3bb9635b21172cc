"""`fgmf latency`: sizes and CPU times of exported files, in one run, with an A/A control."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fgmf.canonical import write_atomically
from fgmf.cli.exits import ExitCode, WrongUse, say

if TYPE_CHECKING:
    from pathlib import Path

    from fgmf.export.latency import LatencyReport

_WIDTH = 100


@dataclass(frozen=True, kw_only=True)
class LatencyRequest:
    """The command line of `fgmf latency`.

    Attributes:
        files: Of one format; the first is what the others are compared with.
        engines: Names; empty takes all that are installed and run the files.
        rounds: How often all are measured.
        repeats: Calls per measurement.
        seed: Of the order within each round.
        report: JSON file to write, or None.
    """

    files: tuple[Path, ...]
    engines: tuple[str, ...] = ()
    rounds: int = 31
    repeats: int = 20
    seed: int = 0
    report: Path | None = None


def run_latency(request: LatencyRequest) -> ExitCode:
    """Measure, and show a table for each engine.

    Raises:
        WrongUse: Files of several formats, one of them twice, or no engine that runs them.
        FgmfError: An engine refuses a file.
    """
    suffixes = {path.suffix for path in request.files}
    if len(suffixes) > 1 or len(set(request.files)) < len(request.files):
        raise WrongUse("expected files of one format, each once; the A/A control is made here")
    (suffix,) = suffixes
    import torch

    from fgmf.export.engines import engines_for, example_of, runner_of
    from fgmf.export.latency import measure_latency

    versions = engines_for(suffix)
    engines = request.engines or tuple(versions)
    if not engines:
        raise WrongUse(f"expected an engine that runs {suffix or 'such'} files, got none installed")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        image, found = example_of(request.files[0]), {}
        for engine in engines:
            busy = os.getloadavg()[0]
            make = {
                str(path): (lambda path=path, engine=engine: runner_of(engine, path, image))
                for path in request.files
            }
            measured = measure_latency(
                make, rounds=request.rounds, repeats=request.repeats, seed=request.seed
            )
            _show(engine, versions.get(engine, ""), measured, request.files, busy)
            found[engine] = _document(measured, versions.get(engine, ""), busy)
    finally:
        torch.set_num_threads(threads)
    if request.report is not None:
        sizes = {str(path): _sizes(path) for path in request.files}
        document = {"engines": found, "files": sizes, "cpus": os.cpu_count()}
        write_atomically(request.report, (json.dumps(document, indent=1) + "\n").encode())
    return ExitCode.PASSED


def _document(measured: LatencyReport, version: str, busy: float) -> dict[str, Any]:
    facts = {"version": version, "load_before": busy, "noise": measured.noise}
    return {**asdict(measured), **facts}


def _sizes(path: Path) -> dict[str, int]:
    contents = path.read_bytes()
    return {"bytes": len(contents), "gzip": len(gzip.compress(contents, mtime=0))}


def _show(
    engine: str, version: str, measured: LatencyReport, files: tuple[Path, ...], busy: float
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{engine} {version}, one image, one thread", title_justify="left")
    for name in ("file", "bytes", "gzip", "CPU time", "speed-up", "middle 90 %", ""):
        table.add_column(name, justify="left" if name in {"file", ""} else "right")
    rows = [(str(path), measured.timings[str(path)], _sizes(path)) for path in files]
    for name, timing, sizes in rows:
        ends = f"{timing.lower:.2f} .. {timing.upper:.2f}"
        told = "within the noise" if not measured.is_resolved(name) else ""
        cells = [name, str(sizes["bytes"]), str(sizes["gzip"]), f"{timing.microseconds:.1f} us"]
        cells += [f"{timing.speedup:.2f}", ends, "" if name == str(files[0]) else told]
        table.add_row(*(Text(cell) for cell in cells))
    control = measured.control
    ends = f"{control.lower:.2f} .. {control.upper:.2f}"
    time = f"{control.microseconds:.1f} us"
    table.add_row("A/A control", "", "", time, f"{control.speedup:.2f}", ends, "")
    console = Console()
    Console(width=max(console.width, _WIDTH)).print(table)
    say(
        f"{measured.rounds} rounds of {measured.repeats} calls in random order; load of the "
        f"machine before: {busy:.1f} on {os.cpu_count()} CPUs"
    )
