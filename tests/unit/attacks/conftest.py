"""One way to run an attack of the catalogue, with few steps."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import torch
from tiny_models import keys_of, rule

from fgmf.attacks import foolbox_bridge
from fgmf.attacks.foolbox_bridge import FoolboxAttack
from fgmf.attacks.interface import AttackBatch
from fgmf.attacks.plans import plan_attacks
from fgmf.robustness.starts import find_starts
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from fgmf.attacks.criteria import Criterion
    from fgmf.attacks.interface import AttackResult
    from fgmf.classifier import Classifier
    from fgmf.types import Norm

FEW: dict[str, dict[str, Any]] = {
    "boundary": {"steps": 120},
    "brendel-bethge": {"steps": 3},
    "hop-skip-jump": {
        "steps": 4,
        "initial_gradient_eval_steps": 12,
        "max_gradient_eval_steps": 20,
    },
    "carlini-wagner": {"steps": 15, "binary_search_steps": 3},
    "ead": {"steps": 20, "binary_search_steps": 6},
    "additive-noise": {"repeats": 15},
    "ddn": {"steps": 15},
    "fmn": {"steps": 15},
}
"""Parameters that keep an attack short."""

EPSILON: dict[str, float] = {"linf": 0.06, "l2": 0.45, "l1": 3.0}
"""Share of the range at which the tiny models fall to every attack, though not every image."""


class Run(Protocol):
    """Runs an attack on images that the model gets right."""

    def __call__(
        self,
        classifier: Classifier,
        images: torch.Tensor,
        name: str,
        norm: Norm = "linf",
        *,
        rows: list[int] | None = None,
        criterion: Criterion | None = None,
        epsilon: float | None = None,
        keys: tuple[str, ...] | None = None,
        guarded: bool = True,
        restart: int = 0,
        **options: Any,
    ) -> AttackResult: ...


def _run(
    classifier: Classifier,
    images: torch.Tensor,
    name: str,
    norm: Norm = "linf",
    *,
    rows: list[int] | None = None,
    criterion: Criterion | None = None,
    epsilon: float | None = None,
    keys: tuple[str, ...] | None = None,
    guarded: bool = True,
    restart: int = 0,
    **options: Any,
) -> AttackResult:
    lower, upper = classifier.bounds
    size = (upper - lower) * EPSILON[norm] if epsilon is None else epsilon
    threat = ThreatModel(norm=norm, epsilon=size, bounds=classifier.bounds)
    (plan,) = plan_attacks([(name, options.pop("parameters", FEW.get(name, {})), None)], restarts=1)
    keys = keys or keys_of(images)
    with classifier.guard() if guarded else nullcontext():
        batch = _batch(classifier, images, criterion, keys, needs_start=plan.entry.needs_start)
        if rows is not None:
            batch = _some(batch, rows)
        attack = FoolboxAttack(plan, classifier, threat, seed=7, **options)
        return attack.run(batch, restart=restart)


def _batch(
    classifier: Classifier,
    images: torch.Tensor,
    criterion: Criterion | None,
    keys: tuple[str, ...],
    *,
    needs_start: bool,
) -> AttackBatch:
    logits = classifier.logits_in_batches(images)
    criterion = criterion or rule(logits.argmax(dim=1))
    starts = None
    if needs_start:
        wanted = range(len(images))
        found = find_starts(classifier, images, logits, criterion, wanted=wanted, keys=keys, seed=7)
        starts = torch.stack([found[at] for at in wanted])
    return AttackBatch(images=images, criterion=criterion, keys=keys, starts=starts)


def _some(batch: AttackBatch, rows: list[int]) -> AttackBatch:
    at = torch.tensor(rows)
    return AttackBatch(
        images=batch.images[at],
        criterion=batch.criterion.of(at),
        keys=tuple(batch.keys[row] for row in rows),
        starts=None if batch.starts is None else batch.starts[at],
    )


@pytest.fixture(scope="session")
def run() -> Run:
    """Run an attack; `rows` takes some of the images, in that order."""
    return _run


@pytest.fixture(autouse=True)
def _uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brendel-Bethge in plain Python: compiling its solver takes half a minute."""
    module = foolbox_bridge.foolbox.attacks.brendel_bethge
    for name in ("BFGSB", "L2Optimizer", "L1Optimizer", "LinfOptimizer"):
        plain = getattr(module, name).__bases__[0]
        compiled = SimpleNamespace(signatures=["compiled"])
        monkeypatch.setattr(module, name, type(name, (plain,), {"_ctor": compiled}))
