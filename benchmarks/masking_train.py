"""Train the digit networks of `tests/specimens` whose weights are missing.

`python -m benchmarks.masking_train --only NAME...` trains some; `--again` all of them anew.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import torch

from benchmarks.masking_specimens import specimens_module

if TYPE_CHECKING:
    from specimens.plans import Plan

FAMILIES = ("honest", "open", "held_out")


def all_plans() -> dict[str, Plan]:
    """Every plan of every family, by the name of its weights."""
    found: dict[str, Plan] = {}
    for family in FAMILIES:
        found |= specimens_module(f"{family}.plans").PLANS
    return found


def main() -> None:
    """Train, keep, and say how accurate each is on the test images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", help="names of networks")
    parser.add_argument("--again", action="store_true", help="also those that are there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    plans = specimens_module("plans")
    for name, plan in all_plans().items():
        wanted = options.only is None or name in options.only
        there = (plans.WEIGHTS / f"{name}.safetensors").is_file()
        if not wanted or (there and not options.again):
            continue
        started = time.process_time()
        plans.keep(name, plans.train_network(plan))
        seconds = time.process_time() - started
        samples, network = plans.images_of(plan.data, "test"), plans.trained(name, plan)
        with torch.no_grad():
            right = network(samples.images).argmax(dim=1) == samples.labels
        print(f"{name:<20} clean {right.double().mean():.3f}  {seconds:5.1f} s CPU", flush=True)


if __name__ == "__main__":
    main()
