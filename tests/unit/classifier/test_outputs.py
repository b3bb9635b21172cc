from __future__ import annotations

from collections import OrderedDict, namedtuple
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fgmf.classifier.outputs import find_logits
from fgmf.errors import InvalidInput

LOGITS = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
OTHER = torch.zeros(2, 7)

Named = namedtuple("Named", ["aux", "logits"])
Unnamed = namedtuple("Unnamed", ["out", "aux"])


class ModelOutput(OrderedDict[Any, Any]):
    """Like the one of transformers: a mapping that takes positions and attributes, too."""

    def __getitem__(self, key: Any) -> Any:
        return list(self.values())[key] if isinstance(key, int) else super().__getitem__(key)


def found(output: Any, *, select: Any = None, image_count: int = 2) -> torch.Tensor:
    return find_logits(output, select=select, image_count=image_count)


@pytest.mark.parametrize(
    "output",
    [
        LOGITS,
        (LOGITS, OTHER),
        [LOGITS, OTHER],
        (None, "text", LOGITS),
        {"logits": LOGITS, "hidden": OTHER},
        {"out": LOGITS, "loss": 0.5},
        SimpleNamespace(logits=LOGITS, hidden=OTHER),
        Named(aux=OTHER, logits=LOGITS),
        Unnamed(out=LOGITS, aux=OTHER),
        ModelOutput(loss=torch.tensor(1.0), logits=LOGITS),
    ],
    ids=lambda output: type(output).__name__,
)
def test_logits_are_found_in_what_models_return(output: Any) -> None:
    assert torch.equal(found(output), LOGITS)


@pytest.mark.parametrize(
    ("output", "select"),
    [
        ((OTHER, LOGITS), 1),
        ((OTHER, LOGITS), -1),
        ({"a": OTHER, "b": LOGITS}, "b"),
        ({0: OTHER, 1: LOGITS}, 1),
        (SimpleNamespace(scores=LOGITS, logits=OTHER), "scores"),
        (ModelOutput(logits=OTHER, scores=LOGITS), 1),
        (Named(aux=LOGITS, logits=OTHER), "aux"),
    ],
)
def test_logits_are_selected_by_name_or_position(output: Any, select: Any) -> None:
    assert torch.equal(found(output, select=select), LOGITS)


@pytest.mark.parametrize(
    ("output", "select", "words"),
    [
        ({"a": LOGITS, "b": LOGITS}, None, r"dict with keys \['a', 'b'\].*`output`"),
        ({"logits": None}, None, "with keys"),
        ({}, None, "with keys"),
        ((), None, "a tuple of"),
        ("logits", None, "type str"),
        (None, None, "type NoneType"),
        (SimpleNamespace(logits=None), None, "type SimpleNamespace"),
        ((1.0, "x"), None, r"a tuple of \(float, str\)"),
        ((OTHER,), 1, "named 1"),
        ({"a": OTHER}, "b", "named 'b'"),
        (SimpleNamespace(a=1), "b", "named 'b'"),
        (SimpleNamespace(a=1), "a", "as a tensor"),
        (SimpleNamespace(a=1), 0, "named 0"),
        (LOGITS, "logits", r"a tensor torch.float32 \(2, 3\)"),
    ],
)
def test_what_holds_no_clear_logits_is_refused(output: Any, select: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        found(output, select=select)


def test_a_position_in_a_bare_tensor_is_no_row_of_it() -> None:
    """With as many classes as images a row would pass for a vector of binary logits."""
    with pytest.raises(InvalidInput, match="named 0"):
        found(torch.zeros(3, 3), select=0, image_count=3)


@pytest.mark.parametrize("column", [torch.tensor([0.5, -2.0]), torch.tensor([[0.5], [-2.0]])])
def test_one_logit_is_that_of_class_one(column: torch.Tensor) -> None:
    logits = found(column)
    assert torch.equal(logits, torch.tensor([[0.0, 0.5], [0.0, -2.0]]))
    assert logits.argmax(dim=1).tolist() == [1, 0]


def test_one_logit_keeps_its_graph() -> None:
    column = torch.tensor([[0.5], [-2.0]], requires_grad=True)
    found(column)[:, 1].sum().backward()
    assert column.grad is not None
    assert column.grad.flatten().tolist() == [1.0, 1.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_floating_type_is_taken(dtype: torch.dtype) -> None:
    assert found(LOGITS.to(dtype)).dtype is dtype


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.uint8, torch.complex64])
def test_class_labels_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(InvalidInput, match=r"floating-point logits.*before argmax"):
        found(LOGITS.to(dtype))


@pytest.mark.parametrize(
    "shape", [(3, 3), (1, 3), (2, 3, 1), (2, 3, 4, 4), (2, 0), (), (3,), (4, 1)]
)
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"shape \(2, classes\)"):
        found(torch.zeros(shape))
