"""Is a team worth its price, and what is left of it when an agent lies?

    python -m benchmarks.agent_teams                     # all cells that are not kept yet
    python -m benchmarks.agent_teams --data digits       # the small form
    python -m benchmarks.agent_teams --minutes 9         # stop after so long; the next run goes on
    python -m benchmarks.agent_teams --only cost         # times: on a quiet machine

A CNN, a ViT and a hybrid decide together (`team_models`), beside each network alone, trained for
the CPU time of all three. Every cell is kept in the benchmark cache.

robust        clean and robust accuracy under the suite `standard`, end to end; exact 95 % intervals
              (of `majority` by the gate `team-robustness`, which attacks through stand-ins for it)
transfer      share of the images that agent j had right and loses to the attack on agent i: 20
              steps of projected ascent
compromised   accuracy with one agent that may say anything: for each image the worst of all agents
              and of all that it can say; exact for rules that are monotone, for `learned` the worst
              of what was tried. `weighted` and `learned` are trained in `joint` alone: elsewhere
              all agents count the same, and `learned` is the mean of probabilities
vote          the same agents under `majority`: the naive attack, and what the gate
              `gradient-masking` says
cost          PGD-20 on the team over the sum of the same on each agent: passes, CPU time in pairs
processes     a gate file with a team: verdicts of one process and of two
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from benchmarks.digit_study import write_result
from benchmarks.fashion_models import Shelf
from benchmarks.gate_ways import CHECK, TORCHRUN, verdicts_of
from benchmarks.pairing import paired_ratio, run_rounds
from benchmarks.team_models import NAMES, STUDIES, WAYS, Study, Trained
from fgmf.agents import RULES
from fgmf.canonical import write_atomically
from fgmf.classifier import Classifier
from fgmf.gates import GradientMaskingGate, RobustnessGate, TeamRobustnessGate
from fgmf.statistics import binomial_interval
from fgmf.team_robustness import with_compromised
from fgmf.training import Ascent, climb_loss
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

VOTE_IMAGES = 200
DECIDING = {
    "independent": ("mean-log-probability", "median", "majority"),
    "joint": ("mean-log-probability", "learned"),
    "diverse": ("mean-log-probability", "median", "majority"),
}

FACTORY = """
from safetensors.torch import load_file
from benchmarks.team_models import STUDIES


def load():
    team = STUDIES["DATA"].new_team()
    team.load_state_dict(load_file("team.safetensors"))
    return team.eval()
"""
GATES = """
schema = 1
[model]
factory = "shop:load"
bounds = [0, 1]
device = "cpu"
[data]
path = "images.npz"
[[gate]]
name = "fixed"
kind = "robustness"
norm = "linf"
epsilon = EPSILON
min_robust_accuracy = 0.3
images = 60
[[gate]]
name = "sequential"
kind = "robustness"
norm = "linf"
epsilon = EPSILON
min_robust_accuracy = 0.2
images = 60
sequential = true
"""


def share(count: int, total: int) -> dict[str, float]:
    """A share with its exact 95 % interval."""
    interval = binomial_interval(count, total, confidence=0.95)
    return {"share": count / total, "lower": interval.lower, "upper": interval.upper}


def robust(study: Study, model: nn.Module) -> dict[str, Any]:
    """Clean and robust accuracy under `standard`, end to end."""
    samples = study.test_set()
    images = len(samples)
    gate = RobustnessGate(
        name="teams",
        norm="linf",
        epsilon=study.epsilon,
        min_robust_accuracy=0.01,
        suite="standard",
        images="all",
    )
    begun = time.process_time()
    verdict = gate.check(Classifier(model, bounds=(0, 1)), samples.images, samples.labels)
    if verdict.outcome is Outcome.ERROR or verdict.measured is None:
        raise SystemExit(f"expected a measurement, got {verdict.outcome}: {verdict.reason}")
    with torch.no_grad():
        right = int((model(samples.images).argmax(dim=1) == samples.labels).sum())
    return {
        "clean": share(right, images),
        "robust": share(round(verdict.measured * images), images),
        "images": images,
        "seconds": time.process_time() - begun,
    }


def transfer(study: Study, way: str) -> dict[str, Any]:
    """Rows: the agent that was attacked; columns: those that lose what they had right."""
    members = study.team(way).model.members
    samples = study.test_set()
    ascent = _ascent(study)
    rows: dict[str, Any] = {}
    for source in members:
        draws = torch.Generator().manual_seed(0)
        moved = climb_loss(source, samples.images, samples.labels, ascent, draws=draws)
        rows[source.name] = {}
        for target in members:
            with torch.no_grad():
                right = target(samples.images).argmax(dim=1) == samples.labels
                lost = right & (target(moved).argmax(dim=1) != samples.labels)
            rows[source.name][target.name] = share(int(lost.sum()), int(right.sum()))
    return rows


def compromised(study: Study, way: str) -> dict[str, Any]:
    """Accuracy under each rule with no agent, and with the worst one, compromised."""
    samples, found = study.test_set(), dict[str, Any]()
    images = len(samples)
    for rule in RULES:
        deciding = study.team(way, rule).model
        with torch.no_grad():
            said = deciding.agent_logits(samples.images)
            honest = deciding.decide(said).argmax(dim=1) == samples.labels
        left = with_compromised(deciding, said, samples.labels, count=1)
        found[rule] = {
            "honest": share(int(honest.sum()), images),
            "any agent": share(int(left.right.sum()), images),
            "each": {
                name: share(int(held.sum()), images) for name, held in left.right_by_agents.items()
            },
            "exact": left.exact,
        }
    return found


def voted(study: Study, way: str) -> dict[str, Any]:
    """Clean and robust accuracy of a vote, attacked through stand-ins and through its agents."""
    samples, trained = study.test_set(), study.team(way, "majority")
    images = len(samples)
    gate = TeamRobustnessGate(
        name="teams",
        norm="linf",
        epsilon=study.epsilon,
        min_robust_accuracy=0.01,
        min_clean_accuracy=0.01,
        suite="standard",
        images="all",
    )
    begun = time.process_time()
    verdict = gate.check(Classifier(trained.model, bounds=(0, 1)), samples.images, samples.labels)
    if verdict.outcome is Outcome.ERROR:
        raise SystemExit(f"expected a measurement, got {verdict.outcome}: {verdict.reason}")
    measured = {each.quantity: each.measured or 0.0 for each in verdict.conditions}
    return {
        "clean": share(round(measured["clean_accuracy"] * images), images),
        "robust": share(round(measured["robust_accuracy"] * images), images),
        "images": images,
        "seconds": time.process_time() - begun,
        "training seconds": trained.seconds,
    }


def vote(study: Study) -> dict[str, Any]:
    """The naive attack on a vote, and what the detector says."""
    samples = study.test_set(VOTE_IMAGES)
    images = len(samples)
    agents = study.team("independent", "majority").model
    around = study.team("independent").model
    gate = GradientMaskingGate(name="vote", norm="linf", epsilon=study.epsilon, images=images)
    verdict = gate.check(Classifier(agents, bounds=(0, 1)), samples.images, samples.labels)
    ascent = _ascent(study)
    draws = torch.Generator().manual_seed(0)
    moved = climb_loss(around, samples.images, samples.labels, ascent, draws=draws)
    with torch.no_grad():
        clean = int((agents(samples.images).argmax(dim=1) == samples.labels).sum())
        right = agents(samples.images).argmax(dim=1) == samples.labels
        held = int((right & (agents(moved).argmax(dim=1) == samples.labels)).sum())
    return {
        "clean": share(clean, images),
        "through the mean of log-probabilities": share(held, images),
        "outcome": str(verdict.outcome),
        "reason": verdict.reason,
        "findings": [finding.name for finding in verdict.findings],
    }


def cost(study: Study, rounds: int) -> dict[str, Any]:
    """PGD-20 on the team over the sum of PGD-20 on each agent."""
    samples, deciding = study.test_set(100), study.team("independent").model
    subjects: dict[str, nn.Module] = {"team": deciding}
    subjects |= {agent.name: agent for agent in deciding.members}
    passes: dict[str, int] = {}

    def attacked(name: str) -> float:
        """On what the subject says itself, so that as many images are attacked of each."""
        classifier = Classifier(subjects[name], bounds=(0, 1))
        labels = classifier.predict(samples.images)
        gate = RobustnessGate(
            name="cost",
            norm="linf",
            epsilon=0.01,
            min_robust_accuracy=0.01,
            images="all",
            attacks=({"name": "pgd", "steps": 20},),  # type: ignore[arg-type]
        )
        begun = time.process_time()
        verdict = gate.check(classifier, samples.images, labels)
        spent = time.process_time() - begun
        if verdict.outcome is Outcome.ERROR:
            raise SystemExit(f"expected a measurement of {name}, got: {verdict.reason}")
        passes[name] = verdict.cost.forward_passes + verdict.cost.backward_passes
        return spent

    def all_agents() -> float:
        return sum(attacked(name) for name in NAMES)

    contestants: dict[str, Callable[[], float]] = {
        "sum of agents": all_agents,
        "sum of agents again": all_agents,
        "team": lambda: attacked("team"),
    }
    times = run_rounds(contestants, rounds=rounds)
    ratios = [
        paired_ratio(name, times, floor="sum of agents") for name in ("sum of agents again", "team")
    ]
    for ratio in ratios:
        print(ratio.describe(), flush=True)
    own = sum(passes[name] for name in NAMES)
    return {
        "passes": {**passes, "of agents, team over sum": len(NAMES) * passes["team"] / own},
        "cpu": {ratio.name: [ratio.median, ratio.lower, ratio.upper] for ratio in ratios},
    }


def processes(study: Study) -> dict[str, Any]:
    """Verdicts of a gate file with a team, in one process and in two."""
    import numpy as np

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        state = study.team("independent").model.state_dict()
        save_file({k: v.contiguous() for k, v in state.items()}, folder / "team.safetensors")
        samples = study.test_set(200)
        np.savez(
            folder / "images.npz", images=samples.images.numpy(), labels=samples.labels.numpy()
        )
        (folder / "shop.py").write_text(FACTORY.replace("DATA", study.data), encoding="utf-8")
        (folder / "fgmf.toml").write_text(
            GATES.replace("EPSILON", str(study.epsilon)), encoding="utf-8"
        )
        one, two = verdicts_of(folder, CHECK), verdicts_of(folder, (*TORCHRUN, *CHECK))
    outcomes = {str(each["gate"]): str(each["outcome"]) for each in one}
    return {"identical": one == two and bool(one), "outcomes": outcomes}


def cells(study: Study, rounds: int) -> dict[str, Callable[[], dict[str, Any]]]:
    """What is measured, in order."""

    def priced(make: Callable[..., Trained], *arguments: str) -> dict[str, Any]:
        trained = make(*arguments)
        return {**robust(study, trained.model), "training seconds": trained.seconds}

    found: dict[str, Callable[[], dict[str, Any]]] = {}
    for name in NAMES:
        found[f"robust alone {name}"] = partial(priced, study.single, name)
    for way in WAYS:
        for rule in DECIDING[way]:
            found[f"robust {way} {rule}"] = partial(priced, study.team, way, rule)
            if rule == "majority":
                found[f"robust {way} {rule}"] = partial(voted, study, way)
        found[f"transfer {way}"] = partial(transfer, study, way)
        found[f"compromised {way}"] = partial(compromised, study, way)
    found["vote"] = partial(vote, study)
    found["processes"] = partial(processes, study)
    found["cost"] = partial(cost, study, rounds)
    return found


def _ascent(study: Study) -> Ascent:
    return Ascent(epsilon=study.epsilon, steps=20, step=study.epsilon / 8, bounds=(0.0, 1.0))


def kept(name: str, study: Study, rounds: int) -> Path:
    """Where a cell is kept."""
    here = Path(__file__).parent
    code = b"".join((here / file).read_bytes() for file in ("agent_teams.py", "team_models.py"))
    digest = hashlib.sha256(code + f"{name} {study} {rounds}".encode()).hexdigest()[:12]
    return Shelf.usual().folder / "teams" / f"cell-{digest}.json"


def main() -> None:
    """Measure what is not kept, print everything, write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", choices=sorted(STUDIES), default="fashion")
    parser.add_argument("--only", nargs="+", default=[""], help="beginnings of names of cells")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so long")
    parser.add_argument("--quick", action="store_true", help="a few images: that it runs")
    parser.add_argument("--output", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    study, rounds = STUDIES[options.data], 15
    if options.quick:
        study, rounds = study.quick(), 2
    started, result = time.monotonic(), dict[str, Any]()
    todo = cells(study, rounds)
    for name, measure in todo.items():
        path = kept(name, study, rounds)
        wanted = name.startswith(tuple(options.only))
        if wanted and not path.is_file() and time.monotonic() - started < 60 * options.minutes:
            write_atomically(path, json.dumps(measure()).encode())
        if path.is_file():
            result[name] = json.loads(path.read_text())
            print(f"{name}: {json.dumps(result[name])}", flush=True)
    print(f"not measured yet: {', '.join(sorted(set(todo) - set(result))) or 'nothing'}")
    if options.output is not None:
        write_result(
            options.output, "What is a team worth?", {"study": str(study), "cells": result}
        )


if __name__ == "__main__":
    main()
