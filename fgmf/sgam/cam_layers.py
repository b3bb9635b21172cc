"""Which module of a backbone a class activation map is read from.

by name, or:
    for at least 4 x 4 cells, and where nothing has as many, at least 2 x 2:
        the second to last of the blocks that put out square grids of tokens, if two or more do
        otherwise the last module without children that puts out maps

The last attention block is passed over: of its patch tokens a class token reads nothing more, so
their gradient can be zero.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import torch
from torch import nn

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.types import Images

_WANTED_SIDE: Final = 4
_SMALLEST_SIDE: Final = 2
"""One cell is flat, and teaches nothing."""


def find_cam_layer(backbone: nn.Module, images: Images) -> str:
    """Return the name of the module to read maps from.

    Args:
        backbone: Any image model; run once, without gradient, in the mode that it is in.
        images: (n, c, h, w); the first is used.

    Raises:
        InvalidInput: No module puts out maps or tokens of at least 2 x 2.

    Cost: 1 forward pass of one image.
    """
    seen: list[tuple[str, nn.Module, torch.Tensor]] = []
    handles = [
        module.register_forward_hook(_noting(name, seen))
        for name, module in backbone.named_modules()
        if name
    ]
    try:
        with torch.no_grad():
            backbone(images[:1])
    finally:
        for handle in handles:
            handle.remove()
    for least in (_WANTED_SIDE, _SMALLEST_SIDE):
        blocks = _token_blocks(backbone, seen, least)
        if len(blocks) > 1:
            return blocks[-2]
        maps = [name for name, module, output in seen if _is_map(module, output, least)]
        if maps:
            return maps[-1]
    raise InvalidInput(
        f"expected a module with maps of at least {_SMALLEST_SIDE} x {_SMALLEST_SIDE}, or two "
        "blocks with as many tokens, in the backbone, got none; name one with layer=..."
    )


def as_maps(output: torch.Tensor) -> torch.Tensor:
    """Maps (n, k, h, w) from a module's output: as they are, or from tokens (n, t, k).

    A class token, one more than a square, is dropped.

    Raises:
        InvalidInput: The output is neither.
    """
    if output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
        return output
    side = _token_side(output, _SMALLEST_SIDE)
    if side is None:
        raise InvalidInput(
            "expected maps (n, k, h, w) of more than one cell, or tokens (n, t, k) of a square "
            f"grid of at least {_SMALLEST_SIDE} x {_SMALLEST_SIDE}, with or without a class token, "
            f"got {tuple(output.shape)}; name another layer"
        )
    patches = output[:, output.shape[1] - side**2 :]
    return patches.transpose(1, 2).reshape(len(output), -1, side, side)


def _noting(
    name: str, seen: list[tuple[str, nn.Module, torch.Tensor]]
) -> Callable[[nn.Module, object, object], None]:
    def note(module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            seen.append((name, module, output))

    return note


def _token_blocks(
    backbone: nn.Module, seen: list[tuple[str, nn.Module, torch.Tensor]], least: int
) -> list[str]:
    """Names of the blocks of tokens: the members of one list of modules, in order."""
    lists = {
        f"{name}.{child}" if name else child
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Sequential | nn.ModuleList)
        for child, _ in module.named_children()
    }
    emitting = [
        name
        for name, module, output in seen
        if name in lists and any(module.children()) and _token_side(output, least) is not None
    ]
    last = emitting[-1].rpartition(".")[0] if emitting else ""
    return [name for name in emitting if name.rpartition(".")[0] == last]


def _token_side(output: torch.Tensor, least: int) -> int | None:
    if output.ndim != 3 or output.shape[1] < least**2:
        return None
    side = math.isqrt(output.shape[1])
    return side if output.shape[1] - side**2 in (0, 1) else None


def _is_map(module: nn.Module, output: torch.Tensor, least: int) -> bool:
    leaf = next(module.children(), None) is None
    return leaf and output.ndim == 4 and min(output.shape[2:]) >= least
