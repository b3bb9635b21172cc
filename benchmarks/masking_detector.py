"""How many masked models does a detector find, and how many honest ones does it flag?

    python -m benchmarks.masking_detector                     # gate and peers, open + honest
    python -m benchmarks.masking_detector --detectors gate    # our gate alone
    python -m benchmarks.masking_detector --held-out          # the first run on mechanisms that the
                                                              # gate was not built with; only once
    python -m benchmarks.masking_detector --scales            # known answers: logits x 1 ... 1000

A detector is a function from a subject to a `Finding`: masked, suspicious, undecided, clean or
error. The gate sees the model, its images, labels and threat, and nothing else. Rows are kept one
by one, under a digest of the detector's source: an interrupted run goes on, and a changed detector
is measured anew. Passes are forward + backward for each image, over those of a PGD-40 (80).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks import masking_fashion
from benchmarks.masking_detectors import DETECTORS, source_digest
from benchmarks.masking_labels import proven
from benchmarks.masking_specimens import FAMILIES, family
from benchmarks.masking_tables import summary, tables
from benchmarks.pairing import machine_facts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from specimens.value import Specimen

RESULTS = Path(__file__).resolve().parent / "results"
OPEN = RESULTS / "masking_detector.json"
FIRST = RESULTS / "masking_held_out_first.json"
SCALES = RESULTS / "masking_scales.json"


def measured(detector: str, specimen: Specimen) -> dict[str, Any]:
    """One row; an exception of the detector is its verdict "error"."""
    subject = specimen.build()
    started, wall = time.process_time(), time.perf_counter()
    row: dict[str, Any]
    try:
        finding = DETECTORS[detector](subject)
        row = {
            "verdict": finding.verdict,
            "mechanisms": list(finding.mechanisms),
            "passes_over_pgd40": round(finding.passes / (80 * finding.images), 3),
            "images": finding.images,
            "reason": finding.reason,
        }
    except Exception as error:  # noqa: BLE001 - whatever it is, it is no finding
        print("".join(traceback.format_exception(error)[-3:]), flush=True)
        row = {
            "verdict": "error",
            "mechanisms": [],
            "passes_over_pgd40": None,
            "images": len(subject.images),
            "reason": f"{type(error).__name__}: {error}",
        }
    return {
        "detector": detector,
        "specimen": specimen.name,
        "mechanism": specimen.mechanism,
        "label": specimen.label,
        **row,
        "cpu_seconds": round(time.process_time() - started, 2),
        "seconds": round(time.perf_counter() - wall, 2),
        "source": source_digest(detector),
    }


def counted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of specimens whose labels are proven (`masking_labels`).

    Scaled ones (`plain-0 x 10`) are labelled by measurement as they are made.
    """
    known = proven()
    return [row for row in rows if row["specimen"] in known or " x " in row["specimen"]]


class Book:
    """Rows on disk, by detector and specimen."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict[str, Any]] = {}
        if path.is_file():
            known = json.loads(path.read_text(encoding="utf-8"))["rows"]
            self.rows = {f"{row['detector']}/{row['specimen']}": row for row in known}

    def has(self, detector: str, specimen: Specimen) -> bool:
        """Whether a row of the detector as it is now is there."""
        row = self.rows.get(f"{detector}/{specimen.name}")
        return row is not None and row["source"] == source_digest(detector)

    def take(self, row: dict[str, Any]) -> None:
        """Keep a row, and write everything."""
        self.rows[f"{row['detector']}/{row['specimen']}"] = row
        rows = [self.rows[key] for key in sorted(self.rows)]
        document = {
            "question": __doc__,
            "summary": summary(counted(rows)),
            "not_counted": sorted({row["specimen"] for row in rows} - proven()),
            "rows": rows,
            "machine": machine_facts(),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".writing")
        partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        partial.replace(self.path)


_SHELF: dict[str, Specimen] = {}
"""By name; builders cannot be sent to another process, but a forked one has them."""


def _measured_by_name(pair: tuple[str, str]) -> dict[str, Any]:
    torch.set_num_threads(1)
    return measured(pair[0], _SHELF[pair[1]])


def run(
    book: Book,
    detectors: list[str],
    specimens: tuple[Specimen, ...],
    *,
    again: bool = False,
    jobs: int = 1,
) -> None:
    """Measure what is missing, in `jobs` processes."""
    _SHELF.update({specimen.name: specimen for specimen in specimens})
    pairs = [
        (detector, specimen.name)
        for specimen in specimens
        for detector in detectors
        if again or not book.has(detector, specimen)
    ]
    if jobs == 1:
        _keep(book, map(_measured_by_name, pairs))
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        _keep(book, pool.imap_unordered(_measured_by_name, pairs))


def _keep(book: Book, rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        book.take(row)
        print(
            f"{row['detector']:<11} {row['specimen']:<28} {row['label']:<20} -> "
            f"{row['verdict']:<10} {row['passes_over_pgd40'] or 0:6.2f} x PGD-40  "
            f"{row['cpu_seconds']:6.1f} s CPU  {', '.join(row['mechanisms'])}",
            flush=True,
        )


def held_out(detectors: list[str], *, jobs: int = 1) -> None:
    """The first run on the held-out mechanisms, kept once and for all."""
    if FIRST.exists():
        raise SystemExit(
            f"{FIRST.name} holds the first run, and there is only one; a later run goes elsewhere: "
            "--family held-out --output FILE"
        )
    unfinished = FIRST.with_suffix(".partial")
    book = Book(unfinished)
    run(book, detectors, family("held-out"), jobs=jobs)
    unfinished.replace(FIRST)
    print(tables(counted(list(book.rows.values()))))


def scales() -> tuple[Specimen, ...]:
    """One network with its logits times 1, 10, 100 and 1000."""
    from benchmarks.masking_scales import scaled_specimens

    return scaled_specimens()


def main() -> None:
    """Run what was asked for, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--detectors", nargs="+", default=list(DETECTORS), choices=list(DETECTORS))
    parser.add_argument("--family", nargs="+", default=["open", "honest"], choices=list(FAMILIES))
    parser.add_argument("--fashion-images", type=int, help="of each of its specimens, not 96")
    parser.add_argument("--held-out", action="store_true", help="the first run; refuses a second")
    parser.add_argument("--scales", action="store_true", help="the control with known answers")
    parser.add_argument("--only", nargs="+", help="names of specimens")
    parser.add_argument("--again", action="store_true", help="also rows that are there")
    parser.add_argument("--output", type=Path, help="where rows are kept")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--tables", action="store_true", help="only print what is kept")
    options = parser.parse_args()
    if options.fashion_images is not None:
        if options.output is None:
            raise SystemExit("rows of other images go elsewhere: --output FILE")
        masking_fashion.COUNT = options.fashion_images
    torch.set_num_threads(1)
    if options.held_out:
        held_out(options.detectors, jobs=options.jobs)
        return
    if "held-out" in options.family and not (FIRST.exists() and options.output):
        raise SystemExit("held-out ones: once with --held-out, then with --output FILE")
    book = Book(options.output or (SCALES if options.scales else OPEN))
    if not options.tables:
        specimens = (
            scales()
            if options.scales
            else tuple(s for name in options.family for s in family(name))
        )
        if options.only is not None:
            specimens = tuple(s for s in specimens if s.name in options.only)
        run(book, options.detectors, specimens, again=options.again, jobs=options.jobs)
    print(tables(counted(list(book.rows.values()))))


if __name__ == "__main__":
    main()
