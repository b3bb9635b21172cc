from __future__ import annotations

import random
from collections import Counter, OrderedDict, defaultdict, deque
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from fgmf.classifier.contents import byte_view, refill, same_bits, undo_contents

if TYPE_CHECKING:
    from collections.abc import Callable


def restored(value: Any, change: Callable[[Any], Any]) -> Any:
    undo = undo_contents(value)
    change(value)
    for step in undo:
        step()
    return value


@pytest.mark.parametrize(
    ("value", "change"),
    [
        ([1, 2], lambda v: v.append(3)),
        ([1, 2], lambda v: v.clear()),
        ({"a": 1}, lambda v: v.update(a=2, b=3)),
        ({1, 2}, lambda v: v.add(3)),
        (deque([1, 2], maxlen=2), lambda v: v.append(3)),
        (Counter("aab"), lambda v: v.update("b")),
        (OrderedDict(a=1, b=2), lambda v: v.move_to_end("a")),
        (defaultdict(list, a=[1]), lambda v: v["b"]),
        ({"calls": [0]}, lambda v: v["calls"].append(1)),
        ([{"seen": {1}}], lambda v: v[0]["seen"].add(2)),
        ([[1]], lambda v: v.pop().append(2)),
    ],
)
def test_containers_get_back_what_they_held(value: Any, change: Callable[[Any], Any]) -> None:
    before = repr(value)
    assert repr(restored(value, change)) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.add_(1),
        lambda t: t.fill_(float("nan")),
        lambda t: t.resize_(1),
        lambda t: setattr(t, "data", torch.zeros(7)),
    ],
)
def test_tensors_get_back_what_they_held(change: Callable[[torch.Tensor], Any]) -> None:
    tensor = torch.tensor([1.0, float("nan"), -0.0])
    before = byte_view(tensor).clone()
    assert torch.equal(byte_view(restored(tensor, change)), before)
    assert tensor.shape == (3,)


def test_a_view_stays_a_view() -> None:
    whole = torch.zeros(4)
    part = whole[:2]
    restored(part, lambda view: view.add_(1))
    assert whole.tolist() == [0, 0, 0, 0]
    whole[0] = 5
    assert part.tolist() == [5, 0]


def test_arrays_get_back_what_they_held() -> None:
    assert restored(np.arange(3), lambda array: array.__iadd__(1)).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("generator", "draw"),
    [
        (torch.Generator().manual_seed(3), lambda g: torch.rand(2, generator=g).tolist()),
        (np.random.default_rng(3), lambda g: g.random(2).tolist()),
        (random.Random(3), lambda g: g.random()),
    ],
    ids=["torch", "numpy", "python"],
)
def test_generators_draw_again_what_they_drew(generator: Any, draw: Callable[[Any], Any]) -> None:
    undo = undo_contents([generator])
    first = draw(generator)
    draw(generator)
    for step in undo:
        step()
    assert draw(generator) == first


@pytest.mark.parametrize("value", [1, "x", None, object(), (1, 2), type("List", (list,), {})([1])])
def test_what_is_nobody_elses_business_is_left_alone(value: Any) -> None:
    assert undo_contents(value) == []


def test_containers_that_hold_themselves_end() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    restored(loop, lambda value: value.append(2))
    assert len(loop) == 2


@pytest.mark.parametrize("container", [[1], deque([1]), {1: 1}, {1}, Counter([1])], ids=repr)
def test_refilling_is_in_place(container: Any) -> None:
    other = type(container)()
    refill(container, other)
    assert not container


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (torch.tensor([1.0]), torch.tensor([1.0]), True),
        (torch.tensor([float("nan")]), torch.tensor([float("nan")]), True),
        (torch.tensor([1.0]), torch.tensor([1.0], dtype=torch.float64), False),
        (torch.tensor([1.0]), torch.tensor([[1.0]]), False),
        (torch.tensor([1.0]), torch.tensor([1.0000001]), False),
        (torch.zeros(0), torch.zeros(0), True),
        (torch.tensor(True), torch.tensor(True), True),
        (torch.tensor([1 + 2j]), torch.tensor([1 + 3j]), False),
    ],
)
def test_bits_are_compared(left: torch.Tensor, right: torch.Tensor, same: bool) -> None:
    assert same_bits(left, right) is same


def test_bytes_are_those_of_the_values_not_of_the_storage() -> None:
    rows = torch.arange(6, dtype=torch.int16).reshape(2, 3)
    expected = rows.T.contiguous().numpy().tobytes()
    assert byte_view(rows.T).numpy().tobytes() == expected
