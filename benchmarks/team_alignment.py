"""How are agents kept apart without leaving slow learners at chance?

    python -m benchmarks.team_alignment              # about three minutes
    python -m benchmarks.team_alignment --seed 1     # another order of the images

Digits: the first 1078 training images are learned, the other 270 are looked at; no test image is. A
CNN, a ViT and a hybrid are trained `independent`, and kept apart in several ways:

first      the alignment of Kariyappa & Qureshi, from the first update on
ramped     the same: nothing for a third of the training, growing for another third
learnt     what `TeamRecipe` does: each pair counts as far as both have learnt

Printed: accuracy of each agent and of the team, what 20 steps of ascent through the rule leave of
it, the mean transfer between different agents, and the alignment of their gradients.
"""

from __future__ import annotations

import argparse
from itertools import permutations
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch

from benchmarks.team_models import STUDIES
from fgmf.datasets import Samples, digits
from fgmf.training import (
    Ascent,
    Callback,
    NFgsmRecipe,
    Schedule,
    TeamRecipe,
    TrainingRun,
    TrainingSettings,
    climb_loss,
    gradient_alignment,
    team_recipes,
)

if TYPE_CHECKING:
    from torch import nn

    from fgmf.agents import Team
    from fgmf.types import Images, Labels

LEARNED = 1078
STUDY = STUDIES["digits"]
WAYS = (
    ("independent", 1.5),
    ("first", 0.5),
    ("ramped", 0.5),
    ("learnt", 0.5),
    ("learnt", 1.5),
    ("learnt", 5.0),
)


class Watch(Callback):
    """Knows how far the training is."""

    def __init__(self) -> None:
        self.progress = 0.0

    def after_update(self, run: TrainingRun) -> None:
        """See :class:`fgmf.training.Callback`."""
        self.progress = run.step / run.steps


def trained(way: str, weight: float, learned: Samples, seed: int) -> Team:
    """One team."""
    team, watch = STUDY.new_team(), Watch()
    kind: Any = "independent" if way == "independent" else "diverse"
    schedule = Schedule(epochs=STUDY.epochs, peak_learning_rate=STUDY.peak, batch_size=STUDY.batch)
    defence = NFgsmRecipe(epsilon=STUDY.epsilon, schedule=schedule)
    recipe = TeamRecipe(recipe=defence, way=kind, weight=weight)

    def plain(team: Team, images: Images, labels: Labels) -> torch.Tensor:
        late = max(0.0, min(1.0, 3 * watch.progress - 1)) if way == "ramped" else 1.0
        return late * gradient_alignment(team, images, labels).mean()

    run = TrainingRun(team, learned, recipe, TrainingSettings(seed=seed, callbacks=(watch,)))
    if way in {"first", "ramped"}:
        with patch.object(team_recipes, "_alignment_of_learnt", plain):
            run.finish()
    else:
        run.finish()
    return team.eval().requires_grad_(requires_grad=False)


def line(team: Team, held: Samples) -> str:
    """What is shown of a team."""
    ascent = Ascent(epsilon=STUDY.epsilon, steps=20, step=STUDY.epsilon / 8, bounds=(0.0, 1.0))

    def attacked(model: nn.Module) -> Images:
        draws = torch.Generator().manual_seed(0)
        return climb_loss(model, held.images, held.labels, ascent, draws=draws)

    def right(model: nn.Module, images: Images) -> torch.Tensor:
        said: torch.Tensor = model(images)
        return said.argmax(dim=1) == held.labels

    own = [float(right(agent, held.images).double().mean()) for agent in team.members]
    moved = [attacked(agent) for agent in team.members]
    lost = []
    for source, target in permutations(range(len(own)), 2):
        before = right(team.members[target], held.images)
        after = right(team.members[target], moved[source])
        lost.append(float((before & ~after).sum() / before.sum()))
    aligned = float(gradient_alignment(team, held.images, held.labels).detach().mean())
    clean, robust = (
        float(right(team, images).double().mean()) for images in (held.images, attacked(team))
    )
    numbers = [*own, clean, robust, sum(lost) / len(lost), aligned]
    return " | ".join(f"{number:.3f}" for number in numbers)


def main() -> None:
    """Print one row per way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--images", type=int, default=LEARNED, help="fewer, to see that it runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = digits("train")
    learned = Samples(images=found.images[: options.images], labels=found.labels[: options.images])
    held = Samples(images=found.images[LEARNED:], labels=found.labels[LEARNED:])
    print("| way | weight | CNN | ViT | hybrid | team | attacked | transfer | alignment |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for way, weight in WAYS:
        team = trained(way, weight, learned, options.seed)
        print(f"| {way} | {weight} | {line(team, held)} |", flush=True)


if __name__ == "__main__":
    main()
