"""Which layer a class activation map looks at, and how its output lies over the image.

    run one image of noise, with a gradient; note what every module puts out, in the order of time
    a place is one module whose output is a grid over the image:
        (n, c, a, b)      a map                  a, b >= 2
        (n, a, b, c)      a map, channels last   where a : b is the image's shape and c is not
        (n, t, c)         tokens                 t less the class tokens is a grid of the image
    of modules that put out the same tensor, the last one without children stands for all
    out: modules without children that pool, drop, flatten or pad; of token models everything but
         modules with children, that is, whole blocks and not their parts; where every block puts
         out what its last part does (a norm at the end), the block stands for that tensor
    in:  places at which the logits have a gradient somewhere else than at the class tokens
    taken: the last place of the model

So a convolutional network is looked at after its last convolution and activation, before that is
pooled, and a transformer whose head reads the class token before its last block, because the
patch tokens that leave the last block reach no logit.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from fgmf.attribution.activations import first_tensor
from fgmf.attribution.passes import gradient_of
from fgmf.errors import InvalidInput
from fgmf.seeding import image_generator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from fgmf.attribution.request import Request

AUTOMATIC = "auto"
MOST_CLASS_TOKENS = 16
"""Class, distillation and register tokens that are looked for in front of the patches."""

_IDLE = (
    torch.nn.modules.pooling._MaxPoolNd,  # noqa: SLF001 - torch has no public name for the family
    torch.nn.modules.pooling._AvgPoolNd,  # noqa: SLF001 - as above
    torch.nn.modules.pooling._AdaptiveAvgPoolNd,  # noqa: SLF001 - as above
    torch.nn.modules.pooling._AdaptiveMaxPoolNd,  # noqa: SLF001 - as above
    torch.nn.modules.dropout._DropoutNd,  # noqa: SLF001 - as above
    torch.nn.Flatten,
    torch.nn.Unflatten,
    torch.nn.Identity,
    torch.nn.Softmax,  # attention weights look like a map, and are none
)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """How the output of a layer lies over the image.

    Attributes:
        kind: ``map`` (n, c, a, b), ``map-last`` (n, a, b, c) or ``tokens`` (n, t, c).
        height: a, rows of the grid.
        width: b, columns.
        class_tokens: Tokens in front of the patches.
        stride: Pixels per token, where the image was padded to a whole number of patches;
            0: the grid covers the image exactly.
    """

    kind: Literal["map", "map-last", "tokens"]
    height: int
    width: int
    class_tokens: int = 0
    stride: int = 0

    def channels_first(self, values: torch.Tensor) -> torch.Tensor:
        """Bring the layer's output, or its gradient, to (n, c, height, width)."""
        if self.kind == "map":
            return values
        if self.kind == "map-last":
            return values.movedim(3, 1)
        patches = values[:, self.class_tokens :].transpose(1, 2)
        return patches.reshape(len(values), -1, self.height, self.width)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A layer of a model.

    Attributes:
        name: As ``named_modules`` says it.
        layer: The module.
        grid: How its output lies over the image; None where only its output will say.
    """

    name: str
    layer: torch.nn.Module
    grid: Grid | None

    def grid_over(self, shape: Sequence[int], image: tuple[int, int]) -> Grid:
        """Return how an output of that shape lies over an image of that height and width.

        Raises:
            InvalidInput: It does not.
        """
        grid = self.grid or grid_of(shape, image)
        if grid is None:
            message = f"expected the output of {self.name} as a grid over the image, got shape "
            raise InvalidInput(f"{message}{tuple(shape)}; name another layer")
        return grid


def find_place(request: Request, name: str) -> Place:
    """Find the layer to look at.

    Args:
        request: The images, for their size; none of them is run.
        name: Of a module, as ``named_modules`` says it; ``auto``: by the rule above.

    Raises:
        InvalidInput: The model is no module, or has no such layer.
        GradientUnavailable: The model's output is cut from the graph.

    Cost: none where the layer is named; else one forward pass of one image, and some backward.
    """
    module = request.classifier.module
    if module is None:
        raise InvalidInput(
            f"expected a torch.nn.Module, whose layers can be looked at, got "
            f"{request.classifier.name}; use an explainer that needs no layer"
        )
    if name == AUTOMATIC:
        return _chosen(request, module)
    modules = dict(module.named_modules())
    if name not in modules:
        few = ", ".join([n for n, m in modules.items() if n and not isinstance(m, _IDLE)][-8:])
        raise InvalidInput(f"expected a layer of the model such as {few}, got {name!r}")
    return Place(name=name, layer=modules[name], grid=None)


def grid_of(shape: Sequence[int], image: tuple[int, int]) -> Grid | None:
    """Say how an output lies over the image; None if it does not.

    Args:
        shape: Of the output, with the batch first.
        image: Height and width in pixels.
    """
    if len(shape) == 4:
        first, last = (shape[2], shape[3]), (shape[1], shape[2])
        if not _like(first, image) and _like(last, image):
            return Grid(kind="map-last", height=last[0], width=last[1])
        if min(first) >= 2:
            return Grid(kind="map", height=first[0], width=first[1])
    if len(shape) == 3:
        return _token_grid(shape[1], image)
    return None


@dataclass(frozen=True, kw_only=True)
class _Seen:
    name: str
    layer: torch.nn.Module
    values: torch.Tensor

    @property
    def is_leaf(self) -> bool:
        return not any(True for _ in self.layer.children())


def _chosen(request: Request, module: torch.nn.Module) -> Place:
    """Find the layer by the rule of this module."""
    with _watched(dict(module.named_modules())) as seen:
        score, point = _probe(request)
    gradient_of(score, point, keep_graph=True)  # says if there is none
    image = _size(request)
    found = [(one, grid_of(one.values.shape, image)) for one in _one_per_tensor(seen)]
    grids = [(one, grid) for one, grid in found if grid and not isinstance(one.layer, _IDLE)]
    blocks = [(one, grid) for one, grid in grids if grid.kind != "tokens" or not one.is_leaf]
    if not any(grid.kind == "tokens" for _, grid in blocks):
        ended = {id(one.values): one for one in reversed(seen) if not one.is_leaf}
        wholes = [
            (ended.get(id(one.values), one) if grid.kind == "tokens" else one, grid)
            for one, grid in grids
        ]
        blocks = [(one, g) for one, g in wholes if g.kind != "tokens" or not one.is_leaf]
    for one, grid in reversed(blocks or grids):
        (slope,) = torch.autograd.grad(
            score.sum(), one.values, retain_graph=True, allow_unused=True
        )
        if slope is not None and bool(grid.channels_first(slope).any()):
            return Place(name=one.name, layer=one.layer, grid=grid)
    raise InvalidInput(
        f"expected a layer of {type(module).__name__} whose output is a grid over the image, got "
        f"none among {len(seen)} outputs; name one with `layer`"
    )


@contextmanager
def _watched(layers: Mapping[str, torch.nn.Module]) -> Iterator[list[_Seen]]:
    """Note what some layers put out, in the order of time; hooks come off on the way out."""
    seen: list[_Seen] = []

    def watch(name: str, layer: torch.nn.Module) -> Callable[..., None]:
        def keep(_module: torch.nn.Module, _inputs: object, output: object) -> None:
            values = first_tensor(output)
            if values is not None:
                seen.append(_Seen(name=name, layer=layer, values=values))

        return keep

    with ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.callback(layer.register_forward_hook(watch(name, layer)).remove)
        yield seen


def _size(request: Request) -> tuple[int, int]:
    return request.images.shape[2], request.images.shape[3]


def _probe(request: Request) -> tuple[torch.Tensor, torch.Tensor]:
    """Run noise; a mix of its logits and the point, in one graph.

    Not one of the images, so that the layer depends on the model and the size of the images alone.
    """
    lower, upper = request.bounds
    drawn = image_generator(0, "layer probe").random(tuple(request.images.shape[1:]))
    point = (lower + (upper - lower) * torch.from_numpy(drawn)).to(request.images)[None]
    point.requires_grad_()
    with torch.enable_grad():
        logits = request.classifier.logits(point)
        signs = torch.linspace(-1, 1, logits.shape[1], dtype=logits.dtype, device=logits.device)
        return (logits * signs).sum(dim=1), point


def _one_per_tensor(seen: Sequence[_Seen]) -> list[_Seen]:
    """Of modules that put out the same tensor the last leaf; else the innermost, the first."""
    groups: dict[int, list[_Seen]] = {}
    for one in seen:
        groups.setdefault(id(one.values), []).append(one)
    return [next((o for o in reversed(g) if o.is_leaf), g[0]) for g in groups.values()]


def _token_grid(tokens: int, image: tuple[int, int]) -> Grid | None:
    """Patches of a common side that cover the image, after as few class tokens as possible."""
    for class_tokens in range(min(MOST_CLASS_TOKENS, tokens - 4) + 1):
        for stride in range(1, max(image) // 2 + 1):
            height, width = (-(-side // stride) for side in image)
            if min(height, width) >= 2 and height * width == tokens - class_tokens:
                return Grid(
                    kind="tokens",
                    height=height,
                    width=width,
                    class_tokens=class_tokens,
                    stride=stride,
                )
    return None


def _like(sides: tuple[int, int], image: tuple[int, int]) -> bool:
    """Whether a common stride leads from the image to these sides, rounded down or up."""
    return any(
        all(
            side in {-(-pixels // stride), pixels // stride}
            for side, pixels in zip(sides, image, strict=True)
        )
        for stride in range(1, max(image) + 1)
    )
