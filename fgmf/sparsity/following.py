"""Follow channels through one graph, node by node, while it runs on example images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from torch import fx, nn
from torch.nn import functional

from fgmf.sparsity.padded_norm import PaddedGroupNorm
from fgmf.sparsity.units import Channels, Slice, Spaces, Span, axis_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_POOLS = (
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.Dropout,
    nn.Dropout2d,
    nn.Identity,
)
_ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Tanh,
    nn.Hardswish,
    nn.Sigmoid,
    nn.Softplus,
    nn.Hardsigmoid,
)
_ADDITIONS: Final = frozenset({"add", "add_", "iadd"})
_CONCATENATIONS: Final = frozenset({"cat", "concat", "concatenate"})
_CHANNELWISE: Final = frozenset(
    {
        *(
            "max_pool1d",
            "max_pool2d",
            "avg_pool1d",
            "avg_pool2d",
            "_max_pool2d",
            "boolean_dispatch",
        ),
        *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "dropout", "dropout2d"),
        *("contiguous", "clone", "detach", "float"),
    }
)
_POINTWISE: Final[Mapping[str, Any]] = {
    "relu": functional.relu,
    "relu_": functional.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "mish": functional.mish,
    "hardswish": functional.hardswish,
    "relu6": functional.relu6,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}
_SCALINGS: Final = frozenset({"mul", "truediv", "div"})
_FLATTENING: Final = frozenset({"flatten", "view", "reshape"})


class Follower(fx.Interpreter):
    """Runs a graph, and keeps for every value which channels lie along which of its axes.

    Args:
        graph: Of the model.
        refused: Layers that units cannot be taken from, and why.
    """

    def __init__(self, graph: fx.GraphModule, refused: Mapping[str, str]) -> None:
        super().__init__(graph)
        self.spaces = Spaces()
        self._refused = refused
        self._of: dict[fx.Node, Channels | None] = {}

    def run_node(self, n: fx.Node) -> Any:  # noqa: ANN401 - whatever the node makes
        """Run a node, then say which channels its value has."""
        value = super().run_node(n)
        self._of[n] = self._followed(n, value)
        return value

    def _followed(
        self,
        node: fx.Node,
        value: Any,  # noqa: ANN401 - whatever the node made
    ) -> Channels | None:
        if node.op == "output":
            self._pin(node, "it is what the model puts out")
            return None
        if not isinstance(value, torch.Tensor):
            if isinstance(value, tuple | list) and any(isinstance(v, torch.Tensor) for v in value):
                self._pin(node, f"{_named(node)} takes it apart")
            return None  # a size, a check: not what is computed with
        if node.op == "call_module":
            return self._layer(node, self.fetch_attr(str(node.target)), value)
        if node.op in {"call_function", "call_method"}:
            return self._operation(node, value)
        return None

    def _layer(  # noqa: PLR0911 - one for each kind of layer
        self, node: fx.Node, layer: nn.Module, value: torch.Tensor
    ) -> Channels | None:
        name, came = str(node.target), self._first(node)
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            return self._weighing(name, layer, came, value)
        if came is None:
            return None
        if isinstance(layer, _BATCH_NORMS) and self._is_plain(came, axis=1):
            return self._scaled(name, layer, came)
        if isinstance(layer, PaddedGroupNorm) or _is_of_one_group(layer):
            return self._normed(name, layer, came)
        if isinstance(layer, _POOLS):
            return came
        if isinstance(layer, _ACTIVATIONS):
            return self._pointwise(came, layer(torch.zeros(1)), name)
        if isinstance(layer, nn.Flatten):
            return self._flattened(node, came, value)
        what = f"layer {name} ({type(layer).__name__}) needs all of them"
        self.spaces.pin(came, what)
        return None

    def _weighing(
        self, name: str, layer: nn.Module, came: Channels | None, value: torch.Tensor
    ) -> Channels | None:
        groups = getattr(layer, "groups", 1)
        axis = 1 if isinstance(layer, _CONVOLUTIONS) else value.ndim - 1
        if came is not None and (came.axis != axis or groups != 1):
            if self._is_depthwise(layer, came):
                return self._scaled(name, layer, came)
            self.spaces.pin(came, f"layer {name} reads them across groups or another axis")
        elif came is not None:
            self.spaces.read(came, name, "weight", dim=1)
        span = self.spaces.new(value.shape[axis], name)
        made = Channels(axis, (span,))
        self.spaces.add(span, *_rows(name, layer, "source"))
        if groups != 1:
            self.spaces.pin(made, f"layer {name} has groups")
        if name in self._refused:
            self.spaces.pin(made, self._refused[name])
            self.spaces.pin(came, f"layer {name}: {self._refused[name]}")
        return made

    def _scaled(self, name: str, layer: nn.Module, came: Channels) -> Channels:
        """A layer with one weight, or one filter, for each channel."""
        self.spaces.add(came.spans[0], *_rows(name, layer, "companion"))
        if name in self._refused:
            self.spaces.pin(came, f"layer {name}: {self._refused[name]}")
        if isinstance(layer, _BATCH_NORMS) and layer.weight is None:
            self.spaces.pin(came, f"layer {name} has no scale that could silence a channel")
        return came

    def _normed(self, name: str, layer: nn.Module, came: Channels) -> Channels:
        alone = self._is_plain(came, axis=1) and layer.weight is not None
        if not alone or name in self._refused:
            self.spaces.pin(came, f"layer {name} (GroupNorm) needs all of them")
            return came
        self.spaces.cross(came.spans[0], name)
        return self._scaled(name, layer, came)

    def _pointwise(self, came: Channels, of_zero: torch.Tensor, what: str) -> Channels:
        if bool(of_zero.abs().max() > 0):
            self.spaces.pin(came, f"{what} is not zero at zero, so that dead channels speak")
        return came

    def _operation(self, node: fx.Node, value: torch.Tensor) -> Channels | None:
        called = node.target
        word = called if isinstance(called, str) else getattr(called, "__name__", str(called))
        came = self._first(node)
        if word in _ADDITIONS:
            return self._added(node)
        if word in _CONCATENATIONS:
            return self._concatenated(node, value)
        if came is None or len(list(self._inputs(node))) > 1:
            self._pin(node, f"operation {word} needs all of them")
            return None
        return self._single(node, word, came, value)

    def _single(
        self, node: fx.Node, word: str, came: Channels, value: torch.Tensor
    ) -> Channels | None:
        """An operation on one value."""
        if word in _POINTWISE:
            return self._pointwise(came, _POINTWISE[word](torch.zeros(1)), f"operation {word}")
        if word in _FLATTENING:
            return self._flattened(node, came, value)
        if word == "mean":
            return self._averaged(node, came, value)
        scaled = word in _SCALINGS and len(node.args) == 2 and _is_number(node.args[1])
        if word in _CHANNELWISE or scaled:
            return came
        self._pin(node, f"operation {word} needs all of them")
        return None

    def _added(self, node: fx.Node) -> Channels | None:
        parts = list(self._inputs(node))
        if len(parts) == 2 and len(node.args) == 2 and self.spaces.join(*parts):
            return parts[0]
        self._pin(node, "something else is added to them")
        return None

    def _concatenated(self, node: fx.Node, value: torch.Tensor) -> Channels | None:
        values = node.args[0] if node.args else node.kwargs.get("tensors")
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        nodes = values if isinstance(values, tuple | list) else ()
        parts = [self._of.get(part) for part in nodes if isinstance(part, fx.Node)]
        axis = axis_of(dim, value) if isinstance(dim, int) else -1
        known = [part for part in parts if part is not None and part.axis == axis]
        if not parts or len(known) < len(parts):
            self._pin(node, "they are concatenated along another axis, or with something else")
            return None
        return Channels(axis, tuple(span for part in known for span in part.spans))

    def _flattened(self, node: fx.Node, came: Channels, value: torch.Tensor) -> Channels | None:
        """Axes from the second on become one: a channel's positions stand in a row."""
        before = self._value(node)
        inner = before[0, 0].numel() if before.ndim > 1 else 0
        flat = value.ndim == 2 and value.shape[0] == before.shape[0]
        if came.axis != 1 or not flat or value.shape[1] != came.length * inner:
            self._pin(node, f"{_named(node)} mixes axes")
            return None
        return Channels(1, tuple(Span(s.space, s.size, s.repeat * inner) for s in came.spans))

    def _averaged(self, node: fx.Node, came: Channels, value: torch.Tensor) -> Channels | None:
        before = self._value(node)
        dims: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        axes = {dims} if isinstance(dims, int) else set(dims) if dims else set(range(before.ndim))
        axes = {axis_of(axis, before) for axis in axes}
        if came.axis in axes or 0 in axes:
            self._pin(node, "a mean is taken over them")
            return None
        lower = 0 if value.ndim == before.ndim else sum(axis < came.axis for axis in axes)
        return Channels(came.axis - lower, came.spans)

    def _is_plain(self, came: Channels, *, axis: int) -> bool:
        single = len(came.spans) == 1 and came.spans[0].repeat == 1 and came.axis == axis
        if not single:
            self.spaces.pin(came, "they are normalised after a concatenation or flattening")
        return single

    def _is_depthwise(self, layer: nn.Module, came: Channels) -> bool:
        if not isinstance(layer, _CONVOLUTIONS) or came.axis != 1 or len(came.spans) != 1:
            return False
        return layer.groups == layer.in_channels == layer.out_channels and (
            came.spans[0].repeat == 1
        )

    def _inputs(self, node: fx.Node) -> Iterator[Channels]:
        for part in node.all_input_nodes:
            channels = self._of.get(part)
            if channels is not None:
                yield channels

    def _first(self, node: fx.Node) -> Channels | None:
        return self._of.get(node.all_input_nodes[0]) if node.all_input_nodes else None

    def _value(self, node: fx.Node) -> torch.Tensor:
        value: torch.Tensor = self.env[node.all_input_nodes[0]]
        return value

    def _pin(self, node: fx.Node, reason: str) -> None:
        for channels in self._inputs(node):
            self.spaces.pin(channels, reason)


def _rows(name: str, layer: nn.Module, role: Any) -> Iterator[Slice]:  # noqa: ANN401 - a Literal
    """Every tensor of a layer that has one entry for each unit along its first axis."""
    tensors = {**layer._parameters, **layer._buffers}  # noqa: SLF001 - only the layer's own
    for tensor, values in tensors.items():
        if values is not None and values.ndim:
            yield Slice(module=name, tensor=tensor, dim=0, role=role)


def _is_of_one_group(layer: nn.Module) -> bool:
    return isinstance(layer, nn.GroupNorm) and layer.num_groups == 1


def _named(node: fx.Node) -> str:
    return f"layer {node.target}" if node.op == "call_module" else f"operation {node.name}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)
