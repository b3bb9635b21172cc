"""Kill trainings again and again, at random moments, and compare the final weights bit by bit.

    python -m benchmarks.training_crash --kills 60

For each recipe: one training without interruption, in a process of its own, is the reference. Then
a training of the same recipe is killed (SIGKILL, from outside, after a random share of up to a
third of the reference's time) and started again until it ends; then another one begins. Checkpoints
are written every 5 updates, so that many kills hit the writing. Reported: kills, where they hit,
and how many finished trainings have weights that differ from the reference in any bit.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.digit_study import write_result
from fgmf.pipeline.directory import file_digest
from fgmf.pipeline.loading import load_recipe_file
from fgmf.pipeline.running import run_training

HEAD = """
schema = 1
seed = {seed}
output = "out"
[data]
factory = "fgmf.datasets:digits"
images = 320
[model]
backbone = "cnn"
arguments = {{ widths = [8, 16], hidden = 32, norm = "batch" }}
[schedule]
epochs = 5
batch_size = 32
[writing]
checkpoint_updates = 5
"""
RECIPES = {
    "scor-pio-2, mask, monitor": """
[defence]
name = "scor-pio-2"
epsilon = 0.15
[sgam]
grid_side = 4
[collapse]
every = 20
max_images = 16
""",
    "n-fgsm, curvature-aware": """
[defence]
name = "n-fgsm"
epsilon = 0.15
[optimizer]
name = "curvature-aware"
""",
    "amo, mask, mask log, pruned": """
[defence]
name = "amo"
epsilon = 0.15
[sgam]
grid_side = 4
[mask_log]
[pruning]
share = 0.4
rounds = 4
images = 64
""",
    "trades with a ramp, sgd": """
[defence]
name = "trades"
epsilon = 0.15
steps = 2
[ramps.beta]
start = 1.0
end = 6.0
[optimizer]
name = "sgd"
shape = "cosine"
""",
}


def child(recipe: Path) -> int:
    """Train in a process of its own; its number."""
    process = os.fork()
    if process == 0:
        try:
            run_training(load_recipe_file(recipe))
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - a child has nobody to tell
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
    return process


def finished(process: int, seconds: float | None) -> bool:
    """Wait for a child, or kill it after so long; say whether it ended by itself."""
    end = None if seconds is None else time.monotonic() + seconds
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            if status != 0:
                raise RuntimeError(f"a training ended with status {status}")
            return True
        if end is not None and time.monotonic() >= end:
            os.kill(process, signal.SIGKILL)
            _, status = os.waitpid(process, 0)
            return os.WIFEXITED(status)
        time.sleep(0.002)


def state_of(folder: Path) -> str:
    """What a kill left behind."""
    out = folder / "out"
    if not (out / "manifest.json").exists():
        return "before the first update"
    if list(out.glob(".*.????????????????")):
        return "in the middle of writing"
    return "with a checkpoint" if (out / "checkpoint.pt").exists() else "before a checkpoint"


def one_recipe(name: str, kills: int, place: Path, draw: random.Random) -> dict[str, Any]:
    """Kill trainings of one recipe so many times."""
    text = HEAD.format(seed=draw.randrange(1000)) + RECIPES[name]

    def folder(label: str) -> Path:
        made = place / label
        made.mkdir(parents=True)
        (made / "recipe.toml").write_text(text)
        return made

    whole = folder("whole")
    # Loaded before the processes are forked, so that they train for most of their lives.
    run_training(load_recipe_file(folder("warm") / "recipe.toml"))
    began = time.monotonic()
    finished(child(whole / "recipe.toml"), None)
    lasted = time.monotonic() - began
    reference = file_digest(whole / "out" / "weights.safetensors")
    places: dict[str, int] = {}
    trainings = different = sessions = killed = 0
    while killed < kills or trainings < 1:
        parts, trainings = folder(f"parts-{trainings}"), trainings + 1
        while not finished(child(parts / "recipe.toml"), draw.random() * lasted / 3):
            killed += 1
            left = state_of(parts)
            places[left] = places.get(left, 0) + 1
        different += file_digest(parts / "out" / "weights.safetensors") != reference
        manifest = json.loads((parts / "out" / "manifest.json").read_text())
        sessions += len(manifest["sessions"])
    return {
        "kills": killed,
        "trainings": trainings,
        "different": different,
        "sessions": sessions,
        "seconds_uninterrupted": round(lasted, 2),
        "updates": manifest["result"]["steps"],
        "left": dict(sorted(places.items())),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=60, help="for each recipe")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=list(RECIPES), action="append")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    draw, found = random.Random(options.seed), {}
    with TemporaryDirectory() as place:
        for number, name in enumerate(options.only or RECIPES):
            found[name] = one_recipe(name, options.kills, Path(place) / str(number), draw)
            found[name]["seed"] = options.seed
            print(f"{name}: {found[name]}", flush=True)
    if options.output and options.output.is_file():  # recipes one after the other
        found = {**json.loads(options.output.read_text())["recipes"], **found}
    if options.output:
        write_result(options.output, "training_crash", {"recipes": found})


if __name__ == "__main__":
    main()
