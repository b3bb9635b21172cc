"""Stored perturbations: the step against the formula, and a store that forgets nothing."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch

from fgmf.errors import InvalidInput, StaleEvidence
from fgmf.scorpio import Amortised, PerturbationStore, amortised_step

SHAPE = (1, 3, 3)
IMAGES = torch.rand(8, *SHAPE, generator=torch.Generator().manual_seed(0))
SLOPE = torch.tensor([1.0, -1, 1, -1, 0, 1, 1, -1, -1]).view(SHAPE)


def loss(images: torch.Tensor) -> torch.Tensor:
    return (images * SLOPE).flatten(1).sum(dim=1)


def step(store: PerturbationStore, indices: list[int], **changes: Any) -> torch.Tensor:
    arguments = {
        "epsilon": 0.1,
        "bounds": (0.0, 1.0),
        "draws": torch.Generator().manual_seed(5),
        **changes,
    }
    where = torch.tensor(indices)
    return amortised_step(loss, IMAGES[where], where, store, Amortised(), **arguments).images


class TestTheStep:
    def test_the_formula_for_new_and_for_known_images(self) -> None:
        store = PerturbationStore(8, SHAPE)
        old = torch.rand(1, *SHAPE) * 2 - 1
        store.write(torch.tensor([2]), old)
        old = (old * 127).round() / 127
        found = step(store, [2, 6])
        draws = torch.Generator().manual_seed(5)
        r = 2.0 * torch.rand(2, *SHAPE, generator=draws) - 1.0
        v = torch.stack([(old[0] + 0.5 * r[0]), r[1]]).clamp(-1, 1)
        v = (v + 1.5 * SLOPE.sign()).clamp(-1, 1)
        expected = (IMAGES[[2, 6]] + 0.1 * v).clamp(0, 1)
        torch.testing.assert_close(found, expected)
        kept, seen = store.read(torch.tensor([2, 6, 0]))
        assert seen.tolist() == [True, True, False]
        torch.testing.assert_close(kept[:2], (v * 127).round() / 127)
        assert store.seen_count == 2

    def test_within_the_ball_and_the_bounds(self) -> None:
        store = PerturbationStore(8, SHAPE)
        for seed in range(5):
            found = step(store, list(range(8)), draws=torch.Generator().manual_seed(seed))
            assert float((found - IMAGES).abs().max()) <= 0.1 + 1e-6  # rounding
            assert 0.0 <= float(found.min()) <= float(found.max()) <= 1.0
            assert not found.requires_grad

    def test_one_gradient(self) -> None:
        calls: list[int] = []

        def counted(images: torch.Tensor) -> torch.Tensor:
            calls.append(1)
            return loss(images)

        where = torch.arange(8)
        amortised_step(
            counted, IMAGES, where, PerturbationStore(8, SHAPE), Amortised(),
            epsilon=0.1, bounds=(0, 1), draws=torch.Generator(),
        )  # fmt: skip
        assert len(calls) == 1

    def test_where_it_looks_is_the_noisy_start(self) -> None:
        """The gradient is taken at the start, not at the image."""
        seen: list[torch.Tensor] = []

        def spied(images: torch.Tensor) -> torch.Tensor:
            seen.append(images.detach().clone())
            return loss(images)

        where = torch.arange(8)
        amortised_step(
            spied, IMAGES, where, PerturbationStore(8, SHAPE), Amortised(),
            epsilon=0.1, bounds=(0, 1), draws=torch.Generator().manual_seed(0),
        )  # fmt: skip
        assert not torch.equal(seen[0], IMAGES)
        assert float((seen[0] - IMAGES).abs().max()) <= 0.1 + 1e-6


class TestTheStore:
    def test_a_round_trip_through_a_file_is_exact(self) -> None:
        one, other = PerturbationStore(8, SHAPE), PerturbationStore(8, SHAPE)
        step(one, [1, 4, 7])
        buffer = io.BytesIO()
        torch.save(one.state_dict(), buffer)
        buffer.seek(0)
        other.load_state_dict(torch.load(buffer, weights_only=True))
        again, goes_on = step(other, [0, 1, 4]), step(one, [0, 1, 4])
        assert torch.equal(again, goes_on)
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name])

    def test_a_state_is_a_copy(self) -> None:
        store = PerturbationStore(8, SHAPE)
        state = store.state_dict()
        step(store, [1])
        assert not bool(state["seen"].any())

    def test_rounding_is_at_most_half_a_step(self) -> None:
        store, values = PerturbationStore(8, SHAPE), torch.rand(8, *SHAPE) * 2 - 1
        store.write(torch.arange(8), values)
        kept, _ = store.read(torch.arange(8))
        assert float((kept - values).abs().max()) <= 0.5 / 127 + 1e-7
        store.write(torch.arange(8), values.sign())
        assert torch.equal(store.read(torch.arange(8))[0], values.sign())  # corners stay corners

    @pytest.mark.parametrize(
        "state",
        [
            {},
            {"values": torch.zeros(8, *SHAPE, dtype=torch.int8)},
            {"values": torch.zeros(7, *SHAPE, dtype=torch.int8), "seen": torch.zeros(7).bool()},
            {"values": torch.zeros(8, *SHAPE), "seen": torch.zeros(8).bool()},
            {"values": "all", "seen": None},
        ],
        ids=range(5),
    )
    def test_foreign_states(self, state: dict[str, Any]) -> None:
        store = PerturbationStore(8, SHAPE)
        step(store, [3])
        before = store.state_dict()
        with pytest.raises(StaleEvidence, match="another training set"):
            store.load_state_dict(state)
        assert all(torch.equal(v, store.state_dict()[k]) for k, v in before.items())

    @pytest.mark.parametrize(
        "indices", [[8], [-1], [[1]], [0.5]], ids=["too large", "negative", "a table", "a float"]
    )
    def test_indices_that_are_none(self, indices: Any) -> None:
        with pytest.raises(InvalidInput, match="indices"):
            PerturbationStore(8, SHAPE).read(torch.tensor(indices))

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            (torch.full((2, *SHAPE), 1.01), "within"),
            (torch.full((2, *SHAPE), float("nan")), "within"),
            (torch.zeros(1, *SHAPE), "shape"),
        ],
        ids=["outside", "nan", "shape"],
    )
    def test_perturbations_that_are_none(self, values: torch.Tensor, words: str) -> None:
        with pytest.raises(InvalidInput, match=words):
            PerturbationStore(8, SHAPE).write(torch.tensor([0, 1]), values)

    def test_an_image_twice(self) -> None:
        with pytest.raises(InvalidInput, match="twice"):
            PerturbationStore(8, SHAPE).write(torch.tensor([1, 1]), torch.zeros(2, *SHAPE))

    def test_no_store(self) -> None:
        for count, shape in ((0, SHAPE), (3, ()), (3, (1, 0, 3))):
            with pytest.raises(InvalidInput, match="at least one image"):
                PerturbationStore(count, shape)


@pytest.mark.parametrize("changes", [{"noise": -0.1}, {"step": 0.0}], ids=str)
def test_mistakes(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(changes))):
        Amortised(**changes)
