"""Random models: shares of draws, and what choosing among them must not do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from tiny_models import LinearModel
from torch import nn

from fgmf.gradient_masking.countering import Countering
from fgmf.gradient_masking.naive import FORTY_STEPS
from fgmf.gradient_masking.naive_runs import STARTS, NaiveSide, attack_again, attack_naively

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fgmf.gradient_masking.examined import Examined

    Making = Callable[..., Examined]

EVERYONE = torch.arange(32)


class Coin(nn.Module):
    """Right on half of all draws, whatever it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.network = LinearModel(2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        signs = torch.randint(0, 2, (len(images), 1)) * 2.0 - 1
        logits: torch.Tensor = signs * self.network(images)
        return logits


@pytest.fixture
def tossed(examined: Making) -> Iterator[Examined]:
    subject = examined(Coin(), random=True)
    with subject.classifier.guard(seed=1):
        yield subject


def test_the_best_of_several_starts_is_judged_on_new_draws(tossed: Examined) -> None:
    found, _ = attack_naively(tossed, EVERYONE, FORTY_STEPS, name="PGD-40")
    for restart in range(1, STARTS):
        found = attack_again(tossed, EVERYONE, found, restart=restart)
    # 32 images of 16 draws: .5 with a deviation of .022; the least of five shares would be .36.
    assert abs(float(found.right.mean()) - 0.5) < 4 * 0.022


def known(subject: Examined, right: torch.Tensor) -> NaiveSide:
    state = Countering(
        examined=subject, right=right, attacked=torch.zeros(len(subject), dtype=torch.bool)
    )
    return NaiveSide(state=state, live=EVERYONE)


def test_a_gap_on_few_is_taken_on_new_draws(tossed: Examined) -> None:
    side = known(tossed, torch.ones(32, dtype=torch.float64))
    side.attack("PGD-40", FORTY_STEPS)
    # Candidates of which the luckiest draws were booked: nothing is feigned, whatever they say.
    side.state.take(EVERYONE, tossed.images, torch.zeros(32, dtype=torch.float64), "lucky")
    assert float((side.outcomes[0].right - side.state.right).mean()) > 0.4
    # Two means with a deviation of .022 each.
    assert abs(side.gap_on(EVERYONE)) < 4 * 0.032


def test_other_starts_are_only_made_where_others_found_more(examined: Making) -> None:
    subject = examined(epsilon=0.05)
    with subject.classifier.guard():
        side = known(subject, torch.ones(32, dtype=torch.float64))
        side.attack("PGD-40", FORTY_STEPS)
        left = side.outcomes[0].right.clone()
        before = subject.passes
        assert side.again()
        assert subject.passes == before  # nothing is feigned yet
        at = int(left.nonzero()[0])
        side.state.right[at] = 0.0
        assert side.again()
        assert subject.passes - before == 81
    assert side.outcomes[0].name == "PGD-40 (3 starts)"


def test_starts_come_to_an_end(examined: Making) -> None:
    subject = examined(epsilon=0.05)
    with subject.classifier.guard():
        side = known(subject, torch.ones(32, dtype=torch.float64))
        side.attack("PGD-40", FORTY_STEPS)
        assert [side.again() for _ in range(STARTS)] == [True] * (STARTS - 1) + [False]
        assert [side.again_on(EVERYONE[:4]) for _ in range(STARTS)] == [True] * 4 + [False]
    assert side.outcomes[0].name == f"PGD-40 ({STARTS} starts)"
