"""Do the labels of the specimens hold under attacks that are not the detector's own?

For each specimen: robust accuracy under FGSM and PGD-40 on the model as it is (honest ones: five
restarts), and under all attacks of its oracle (`tests/specimens/oracles`, plain torch): those on
the unmasked twin, judged on the specimen, and for honest models those on the model itself with
random search. A masked label needs a gap of at least 10 points, an honest one at most 4.

The oracle takes 100 steps, 4 targets and 600 queries on honest models of digits; 50, 2 and 300 on
masked ones, where a gap is enough, and on Fashion-MNIST. The first 100 images
count; a masked label that does not hold so gets the long way, and all images.

Rows are kept one by one: an interrupted run goes on. `--family held-out` adds those that a
detector is not built with; `--again` measures anew.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.masking_specimens import FAMILIES, family, specimens_module
from benchmarks.pairing import machine_facts

if TYPE_CHECKING:
    from specimens.value import Specimen

FEWER = {"steps": 50, "targets": 2, "queries": 300}
IMAGES = 100
RESULT = Path(__file__).resolve().parent / "results" / "masking_labels.json"


def labelled(specimen: Specimen) -> dict[str, Any]:
    """One row of the table."""
    proof_module = specimens_module("oracles.proof")
    started = time.process_time()
    fewer = specimen.label not in {"honest", "between"} or specimen.name.startswith("fashion-")
    effort = proof_module.Effort(**FEWER) if fewer else proof_module.Effort()
    proof = proof_module.prove(specimen, effort, count=IMAGES)
    if specimen.label == "masked" and not proof.holds(specimen):
        effort = proof_module.Effort()
        proof = proof_module.prove(specimen, effort)
    return {
        "effort": vars(effort),
        "mechanism": specimen.mechanism,
        "label": specimen.label,
        "about": specimen.about,
        "naive": specimen.naive,
        **{key: round(value, 4) for key, value in vars(proof).items()},
        "gap": round(proof.gap(specimen), 4),
        "holds": proof.holds(specimen),
        "seconds": round(time.process_time() - started, 1),
    }


def written(path: Path, rows: dict[str, dict[str, Any]]) -> None:
    """Write all rows, sorted by name."""
    document = {
        "question": __doc__,
        "rows": dict(sorted(rows.items())),
        "machine": machine_facts(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def kept(path: Path) -> dict[str, dict[str, Any]]:
    """Rows of earlier runs."""
    if not path.is_file():
        return {}
    rows: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return rows


def proven(path: Path = RESULT) -> frozenset[str]:
    """Names of specimens whose label was measured and holds: the others are counted nowhere."""
    return frozenset(name for name, row in kept(path).items() if row["holds"])


def describe(name: str, row: dict[str, Any]) -> str:
    """One line."""
    return (
        f"{name:<30} {row['mechanism']:<23} clean {row['clean']:.3f}  fgsm {row['fgsm']:.3f}  "
        f"pgd {row['pgd']:.3f}  patient {row['patient']:.3f}  oracle {row['oracle']:.3f}  "
        f"gap {row['gap']:.3f}  {'holds' if row['holds'] else 'DOES NOT HOLD'}"
    )


def main() -> None:
    """Measure what is missing, print every row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", nargs="+", default=["open", "honest"], choices=list(FAMILIES))
    parser.add_argument("--only", nargs="*", help="names of specimens")
    parser.add_argument("--again", action="store_true", help="also what is there")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.family:
        for specimen in family(name):
            if options.only is not None and specimen.name not in options.only:
                continue
            rows = kept(options.output)
            known = rows.get(specimen.name, {}).get("label") == specimen.label
            if not known or options.again:
                row = labelled(specimen)
                rows = {**kept(options.output), specimen.name: {"family": name, **row}}
                written(options.output, rows)
            print(describe(specimen.name, rows[specimen.name]), flush=True)


if __name__ == "__main__":
    main()
