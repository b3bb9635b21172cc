"""Finding the logits in what a model returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import torch

from fgmf.errors import InvalidInput


def find_logits(output: Any, *, select: str | int | None, image_count: int) -> torch.Tensor:  # noqa: ANN401 - whatever a user's model returns
    """Return the logits in a model's output, as (n, classes).

    Args:
        output: A tensor, tuple, list, mapping, or an object with a ``logits`` attribute.
        select: Key, attribute or position of the logits; None finds them.
        image_count: Rows that the logits must have.

    Returns:
        (n, classes) floating point, still attached to the graph. A single column, or a vector,
        is the logit of class 1 of a binary model and becomes ``[0, z]``.

    Raises:
        InvalidInput: There are no logits, or more than one candidate, or a wrong shape.
    """
    tensor = _select(output, select) if select is not None else _search(output)
    if not isinstance(tensor, torch.Tensor):
        message = f"expected the model to return logits as a tensor, got {_describe(output)}"
        raise InvalidInput(f"{message}; name them with `output`")
    if not tensor.dtype.is_floating_point:
        message = f"expected floating-point logits, got {tensor.dtype}: class labels have no margin"
        raise InvalidInput(f"{message}; return the logits before argmax")
    if tensor.ndim == 1:
        tensor = tensor.unsqueeze(1)
    if tensor.ndim != 2 or tensor.shape[0] != image_count or tensor.shape[1] == 0:
        message = (
            f"expected logits of shape ({image_count}, classes), got {tuple(tensor.shape)}; "
            "the model must be a classifier that keeps one row per image"
        )
        raise InvalidInput(message)
    if tensor.shape[1] == 1:
        tensor = torch.cat([torch.zeros_like(tensor), tensor], dim=1)
    return tensor


def refuse_fixed_logit(logits: torch.Tensor, targets: torch.Tensor | None = None) -> None:
    """Refuse a raw logit that is 0 whatever the image, as that of class 0 of a single-logit model.

    Nothing can be learnt from such a number: its gradient is zero, and no pixel moves it.

    Args:
        logits: (m, classes).
        targets: (m,) whose logits are looked at; None: all.

    Raises:
        InvalidInput: There are two classes, and the first one's logit is always exactly 0, the
            second one's not.
    """
    asked = targets is None or bool((targets == 0).any())
    single = logits.shape[1] == 2 and not bool(logits[:, 0].any()) and bool(logits[:, 1].any())
    if asked and single:
        raise InvalidInput(
            "expected a logit of its own for each class, got a single one, which is that of "
            "class 1; class 0 has 0 whatever the image. Let the model return two, such as "
            "[-z, z] / 2, or ask for log-odds or probabilities instead of the logit"
        )


def _select(output: Any, select: str | int) -> Any:  # noqa: ANN401 - as above
    try:
        if isinstance(output, Mapping):
            return output[select]
        if isinstance(select, str):
            return getattr(output, select)
        if _is_sequence(output):
            return output[select]
    except (KeyError, IndexError, TypeError, AttributeError):
        pass
    message = f"expected an output named {select!r} from the model, got {_describe(output)}"
    raise InvalidInput(message)


def _search(output: Any) -> Any:  # noqa: ANN401 - as above
    if isinstance(output, torch.Tensor):
        return output
    if isinstance(output, Mapping):
        if "logits" in output:
            return output["logits"]
        return _only_tensor(list(output.values()))
    logits = getattr(output, "logits", None)
    if logits is not None:
        return logits
    if _is_sequence(output):
        return next((entry for entry in output if isinstance(entry, torch.Tensor)), None)
    return None


def _is_sequence(output: Any) -> TypeGuard[Sequence[Any]]:  # noqa: ANN401 - as above
    return isinstance(output, Sequence) and not isinstance(output, str | bytes)


def _only_tensor(entries: list[Any]) -> Any:  # noqa: ANN401 - as above
    tensors = [entry for entry in entries if isinstance(entry, torch.Tensor)]
    return tensors[0] if len(tensors) == 1 else None


def _describe(output: Any) -> str:  # noqa: ANN401 - as above
    if isinstance(output, torch.Tensor):
        return f"a tensor {output.dtype} {tuple(output.shape)}"
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} with keys {sorted(map(str, output))}"
    if _is_sequence(output):
        kinds = ", ".join(type(entry).__name__ for entry in output)
        return f"a {type(output).__name__} of ({kinds})"
    return f"an object of type {type(output).__name__}"
