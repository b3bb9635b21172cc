"""Are corrupted mask logs found, every one, and intact ones not?

    python -m benchmarks.mask_log_corruption [--cases 10000] [--logs 60] [--seed 0]

Hypothesis draws the cases: a random complete log, a class of corruption, and where it strikes. Each
case is verified against the head that was kept elsewhere, where it must be found to be tampered
with (torn, if zeros or the first letters of a record stand after the end: that cannot be told from
a crash), and without a head, where it must at least not be complete (a suffix that was rewritten
with all its digests can only be found with the head).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from benchmarks.pairing import machine_facts

if TYPE_CHECKING:
    from collections.abc import Mapping

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from mask_log_corruptions import (
    CLASSES,
    IntactLog,
    found_as,
    intact_logs,
    write_files,
)

from fgmf.mask_log import LogOutcome, VerifySettings, verify_log


def measure_class(
    name: str, logs: list[IntactLog], path: Path, *, cases: int, number: int
) -> dict[str, int]:
    """Corrupt logs in one way; count what was found."""
    counts = {"cases": 0, "tampered": 0, "torn": 0, "not": 0}

    @seed(number)
    @settings(
        max_examples=cases * 2,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(data=st.data())
    def look(data: st.DataObject) -> None:
        log = data.draw(st.sampled_from(logs))
        corrupted = data.draw(CLASSES[name](log.files, log.other))
        if corrupted == log.files or counts["cases"] >= cases:
            return
        write_files(path, corrupted)
        counts["cases"] += 1
        counts[found_as(path, log, rewritten=name == "rewritten suffix")] += 1

    look()
    return counts


def false_alarms(logs: list[IntactLog], path: Path) -> int:
    """Count intact logs that are not found complete and anchored."""
    alarms = 0
    for log in logs:
        write_files(path, log.files)
        report = verify_log(path, VerifySettings(head=log.head))
        alarms += report.outcome is not LogOutcome.COMPLETE or report.anchor != "head"
    return alarms


def shown(counts: Mapping[str, int]) -> str:
    """Write how cases were found."""
    return (
        f"{counts['cases']:>6} cases: {counts['tampered']} tampered, {counts['torn']} torn, "
        f"{counts['not']} not found"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--classes", nargs="*", choices=list(CLASSES))
    parser.add_argument("--logs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    started = time.process_time()
    each = -(-options.cases // len(CLASSES))
    with TemporaryDirectory() as place:
        logs = intact_logs(Path(place) / "intact", count=options.logs, seed=options.seed)
        path = Path(place) / "log"
        results = {
            name: measure_class(name, logs, path, cases=each, number=options.seed)
            for name in options.classes or CLASSES
        }
        alarms = false_alarms(logs, path)
    for name, counts in results.items():
        print(f"{name:<17} {shown(counts)}")
    total = Counter[str]()
    for counts in results.values():
        total.update(counts)
    print(f"{'all':<17} {shown(total)}")
    print(f"false alarms on {options.logs} intact logs: {alarms}")
    print(f"CPU time: {time.process_time() - started:.0f} s")
    if options.output:
        document = {"classes": results, "all": dict(total), "false_alarms": alarms}
        document |= {"logs": options.logs, "machine": machine_facts()}
        options.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
