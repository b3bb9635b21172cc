"""The study of determinism sees a difference where there is one, and none where there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from fgmf.attacks.catalogue import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.datasets import Samples

    Load = Callable[[str], Any]


@pytest.fixture
def determinism(study: Load) -> Any:
    return study("determinism")


@pytest.fixture
def answer(
    determinism: Any, standard_digits_model: torch.nn.Module, digits_test: Samples
) -> Callable[[int], Any]:
    """Answers the question of a seed, on 40 images with the default attacks."""
    few = replace(digits_test, images=digits_test.images[:40], labels=digits_test.labels[:40])

    def ask(seed: int, batch_size: int = 128) -> Any:
        question = determinism.Question(model="standard", seed=seed, attacks="default", norm="linf")
        setting = determinism.Setting(batch_size=batch_size)
        return determinism.ask(question, setting, standard_digits_model, few, compiled=False)

    return ask


def test_an_answer_is_the_gates_own(answer: Callable[..., Any]) -> None:
    first = answer(0)
    broken = [at for at, row in enumerate(first.rows) if row["by"] is not None]
    assert broken == first.report["evidence"]["broken_images"]
    assert sorted(first.examples) == broken
    assert "cost" not in first.report
    wrong = [at for at, row in enumerate(first.rows) if row["broken"] and row["by"] is None]
    assert wrong == first.report["evidence"]["misclassified_images"]


def test_the_same_seed_is_no_difference_and_another_seed_is_one(
    determinism: Any, answer: Callable[..., Any], standard_digits_model: torch.nn.Module
) -> None:
    asked = determinism.Question(model="standard", seed=0, attacks="default", norm="linf")

    def against(other: Any) -> list[Any]:
        found: list[Any] = determinism.differences(
            asked, determinism.FIRST, answer(0), other, standard_digits_model
        )
        return found

    assert against(answer(0, batch_size=7)) == []
    assert {difference.what for difference in against(answer(3))} >= {"report: seed"}


def test_a_flipped_image_is_named_with_its_attack_and_nearness(
    determinism: Any, answer: Callable[..., Any], standard_digits_model: torch.nn.Module
) -> None:
    first = answer(0)
    at = first.report["evidence"]["broken_images"][0]
    rows = [dict(row) for row in first.rows]
    rows[at] |= {"broken": False, "by": None, "into": None}
    asked = determinism.Question(model="standard", seed=0, attacks="default", norm="linf")
    (found,) = determinism.differences(
        asked, determinism.FIRST, first, replace(first, rows=rows), standard_digits_model
    )
    assert found.what == f"image {at}"
    assert first.rows[at]["by"] in found.first
    assert "None" in found.other
    assert 0 < found.nearness < 1
    assert f"image {at}" in found.describe()


def test_nearness_is_the_gap_as_a_share_of_the_spread(determinism: Any) -> None:
    def network(images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)

    image = torch.tensor([1.0, 5.0, 4.0, 3.0]).reshape(1, 2, 2).numpy()
    assert determinism.nearness(network, image) == pytest.approx(0.25)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_attack_that_draws_is_in_the_list(determinism: Any, norm: str) -> None:
    names = [attack["name"] for attack in determinism.drawing_attacks(norm, compiled=True)]
    assert set(names) == {e.name for e in CATALOGUE.values() if e.random and norm in e.norms}
    quick = [attack["name"] for attack in determinism.drawing_attacks(norm, compiled=False)]
    assert set(names) - set(quick) == {"brendel-bethge"}


def test_the_full_study_has_what_it_says(determinism: Any) -> None:
    asked = determinism.questions(8)
    assert len(set(asked)) == len(asked) == 32
    assert {(q.norm, q.attacks, q.model) for q in asked} == {
        (norm, attacks, model)
        for norm in ("linf", "l2")
        for attacks in ("default", "drawing")
        for model in ("standard", "robust")
    }
    settings = (determinism.FIRST, *determinism.OTHERS)
    assert {setting.batch_size for setting in settings} == {17, 64, 128, 449}
    assert {setting.threads for setting in settings} == {1, 2}
