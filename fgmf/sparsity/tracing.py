"""Find the units of a model that can be removed whole, by following its graph.

    graph  = torch.fx.symbolic_trace(model), attention blocks and saliency masks left whole
    for each node, run on example images:
        a layer that makes channels opens a space; one that reads them is noted
        channelwise operations hand the space on; a residual sum joins two
        whatever is not known pins the spaces that go into it: its layers are refused, by name

Cost: one forward pass of the example images.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from fgmf.backbones import AttentionBlock
from fgmf.errors import InvalidInput
from fgmf.sgam import SgamLayer
from fgmf.sparsity.attention import attention_groups
from fgmf.sparsity.following import Follower
from fgmf.sparsity.padded_norm import PaddedGroupNorm
from fgmf.sparsity.units import FoundUnits, UnitGroup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.types import Images

_WHOLE = (AttentionBlock, PaddedGroupNorm, SgamLayer)


def find_units(model: nn.Module, images: Images) -> FoundUnits:
    """Find channels, hidden units and attention heads that can be removed whole.

    Args:
        model: Its forward pass must be one that torch.fx can trace (no branches on values).
        images: (n, ...) one or two example images, as the model takes them.

    Returns:
        Groups of units, and the layers that are refused, each with its reason.

    Raises:
        InvalidInput: The forward pass cannot be traced or run, or a layer has reparametrised
            weights.
    """
    for name, module in model.named_modules():
        if getattr(module, "parametrizations", None) or hasattr(module, "weight_orig"):
            message = f"expected plain weights in layer {name}, got reparametrised ones"
            raise InvalidInput(f"{message}; make them permanent (torch.nn.utils.prune.remove)")
    try:
        graph = _Tracer().trace(model)
        follower = Follower(fx.GraphModule(model, graph), _shared_layers(model, graph))
        with torch.no_grad(), _evaluating(model):
            follower.run(images)
    except InvalidInput:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        message = "expected a forward pass that torch.fx can trace, to find units to remove"
        raise InvalidInput(
            f"{message}, got {type(error).__name__}: {reason}; remove branches on values of "
            'tensors, or do without units: prune by structure = "weights" in a training, export '
            "without compaction"
        ) from error
    found = follower.spaces.found()
    inner: dict[str, UnitGroup] = {}
    for name, module in model.named_modules():
        if isinstance(module, AttentionBlock):
            inner |= {group.name: group for group in attention_groups(name, module)}
    return FoundUnits(groups={**found.groups, **inner}, refusals=found.refusals)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """No running statistics move, and nothing is dropped; each module's mode is put back."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


class _Tracer(fx.Tracer):
    """Leaves attention blocks, saliency masks and torch's own layers whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _WHOLE) or super().is_leaf_module(m, module_qualified_name)


def _shared_layers(model: nn.Module, graph: fx.Graph) -> dict[str, str]:
    """Layers that units cannot be taken from, whatever their kind, and why."""
    calls: dict[Any, int] = {}
    names: dict[nn.Module, str] = {}
    shared: dict[str, str] = {}
    modules = dict(model.named_modules())
    for node in graph.nodes:
        if node.op == "call_module":
            layer = modules[node.target]
            calls[layer] = calls.get(layer, 0) + 1
            names[layer] = node.target
            if calls[layer] > 1:
                shared[names[layer]] = shared[node.target] = "it is used more than once"
        elif node.op == "get_attr":
            owner = node.target.rpartition(".")[0]
            if owner in modules and not isinstance(modules[owner], nn.Sequential):
                shared[owner] = f"its {node.target.rpartition('.')[2]} is read on its own, too"
    owners: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owner = name.rpartition(".")[0]
        other = owners.setdefault(id(parameter), owner)
        if other != owner:
            shared[owner] = shared[other] = f"{other} and {owner} share their weights"
    return shared
