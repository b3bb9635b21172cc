"""Is a network a plain chain of layers that bounds are known for? Looked up by tracing it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

_AS_THEY_ARE = (
    nn.Linear,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.ReLU,
    nn.Identity,
    nn.Dropout,
    nn.Dropout2d,
)
_RELUS: frozenset[object] = frozenset({torch.relu, functional.relu, "relu"})
_FLATTENS: frozenset[object] = frozenset({torch.flatten, "flatten"})


def layers_of(module: nn.Module) -> list[nn.Module] | None:
    """Return the layers of a network that runs one after the other.

    Args:
        module: In eval mode, inside its classifier's guard: its forward runs once with stand-ins.

    Returns:
        Supported layers in their order; None where anything else happens: another layer, a
        branch, a hook, a replaced forward, or code that cannot be traced.

    Source: torch.fx. What the forward does besides calling layers on its input cannot be seen in
        the chain only if it depends on the values of tensors, which tracing refuses.
    """
    if any(_hooked(child) or _replaced(child) for child in module.modules()):
        return None
    try:
        graph = fx.Tracer().trace(module)
    except Exception:  # noqa: BLE001 - whatever a foreign forward raises on stand-ins
        return None
    layers: list[nn.Module] = []
    for before, node in pairwise(graph.nodes):
        if node.op == "output":
            return layers if layers and node.args == (before,) else None
        layer = _layer(module, node) if node.args[:1] == (before,) else None
        if layer is None or len(before.users) != 1:
            return None
        layers.append(layer)
    return None


def _layer(module: nn.Module, node: fx.Node) -> nn.Module | None:
    if node.op == "call_module":
        if len(node.args) > 1 or node.kwargs:
            return None
        layer = module.get_submodule(str(node.target))
        return layer if _supported(layer) else None
    if node.op not in {"call_function", "call_method"}:
        return None
    arguments: tuple[Any, ...] = node.args[1:]
    if node.target in _RELUS and not arguments and set(node.kwargs) <= {"inplace"}:
        return nn.ReLU()
    from_first = arguments == (1,) and not node.kwargs
    if node.target in _FLATTENS and (from_first or node.kwargs == {"start_dim": 1}):
        return nn.Flatten()
    return None


def _supported(layer: nn.Module) -> bool:
    """Exactly these types: what is derived from one may do something else."""
    special: dict[type[nn.Module], Callable[[Any], bool]] = {
        nn.Conv2d: lambda conv: conv.padding_mode == "zeros",
        nn.MaxPool2d: lambda pool: not pool.return_indices,
        nn.Flatten: lambda flat: (flat.start_dim, flat.end_dim) == (1, -1),
        nn.BatchNorm1d: _with_statistics,
        nn.BatchNorm2d: _with_statistics,
    }
    if type(layer) in special:
        return special[type(layer)](layer)
    return type(layer) in _AS_THEY_ARE


def _with_statistics(layer: Any) -> bool:  # noqa: ANN401 - a batch norm
    return layer.running_mean is not None and not layer.training


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)  # noqa: SLF001 - no public name


def _replaced(module: nn.Module) -> bool:
    """Whether something else runs than the forward of the class, which is what is traced."""
    own = vars(module).keys() & {"forward", "_call_impl", "__call__"}
    return bool(own) or type(module).__call__ is not nn.Module.__call__
