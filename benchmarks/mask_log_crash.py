"""Does a mask log survive kill -9? Three writers at a time, killed at random moments.

    python -m benchmarks.mask_log_crash [--rounds 70] [--seed 0] [--output FILE]

Each writer says the number of every record once it is acknowledged. After the kill every
acknowledged record must be there, no torn one may be read, and after a repair the log must be
usable: each stream is gone on with and ended, and the whole log is then found intact.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.pairing import machine_facts

TESTS = Path(__file__).parents[1] / "tests"
WRITERS = 3

WRITER = """
import itertools, pathlib, random, sys, os
from mask_logs import batch_of, body_of
from fgmf.mask_log.manifest import read_manifest
from fgmf.mask_log.places import LogDirectory
from fgmf.mask_log.settings import WriterSettings
from fgmf.mask_log.writing import StreamWriter
directory = LogDirectory(path=pathlib.Path(sys.argv[1]))
draw = random.Random(sys.argv[3])
settings = WriterSettings(
    checkpoint_records=draw.choice([5, 50, 1000]), segment_bytes=draw.choice([3000, 30000, 10**8])
)
writer = StreamWriter(directory, sys.argv[2], read_manifest(directory), settings=settings)
for step in itertools.count():
    size = draw.randint(1, 8)
    number = writer.append_batch(batch_of(range(8 * step, 8 * step + size)), body_of(step))
    os.write(1, b"%d\\n" % number)
"""


def one_round(place: Path, draw: random.Random) -> dict[str, int]:
    """Kill three writers at once, look, repair, go on."""
    from fgmf.mask_log import LogOutcome, Manifest, verify_log
    from fgmf.mask_log.manifest import write_manifest
    from fgmf.mask_log.places import LogDirectory
    from fgmf.mask_log.repairing import repair_log
    from fgmf.mask_log.writing import StreamWriter

    directory, manifest = LogDirectory(path=place), Manifest()
    write_manifest(directory, manifest)
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(place), f"w{number}", str(draw.random())],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        for number in range(WRITERS)
    ]
    firsts = [writer.stdout.readline() for writer in writers]
    time.sleep(draw.random() * 0.15)
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
    said = [(first + w.communicate()[0]) for first, w in zip(firsts, writers, strict=True)]
    last = [int(text[: text.rindex(b"\n")].split()[-1]) for text in said]
    torn = verify_log(place)
    repairs = repair_log(place)
    after = verify_log(place)
    lost = sum(
        stream.records <= acknowledged
        for stream, acknowledged in zip(after.streams, last, strict=True)
    )
    bad = after.outcome is not LogOutcome.INCOMPLETE or torn.outcome is LogOutcome.TAMPERED
    for stream in directory.stream_names():
        StreamWriter(directory, stream, manifest, resume=True).close()
    unusable = verify_log(place).outcome is not LogOutcome.INTACT
    return {
        "kills": WRITERS,
        "acknowledged": sum(last) + WRITERS,
        "lost": lost,
        "misread": int(bad),
        "unusable": int(unusable),
        "repaired": len(repairs),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=70)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    total: dict[str, int] = {}
    with TemporaryDirectory() as place:
        for number in range(options.rounds):
            for key, value in one_round(Path(place) / str(number), draw).items():
                total[key] = total.get(key, 0) + value
    print(
        f"{total['kills']} writers killed, {total['acknowledged']} records acknowledged: "
        f"{total['lost']} streams lost one, {total['misread']} logs misread, "
        f"{total['unusable']} unusable afterwards; {total['repaired']} streams had a torn tail"
    )
    if options.output:
        options.output.write_text(
            json.dumps({**total, "machine": machine_facts()}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
