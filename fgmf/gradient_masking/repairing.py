"""A network with another backward pass where its own is lost or wrong (BPDA), by hooks.

    a module with a fault     value f(u); gradient:
        elementwise           slope (f(u + d) - f(u - d)) / 2d of each entry
        same shape            that of the identity
        other shape           estimated: signs in random directions, both ways
    a module given something cut       u = v + (u - v).detach(), v the images, or the last output of
                                       the same shape
    an exit                            the loss looks at an inner tensor that decides likewise

d is a quarter of the spread of u. Hooks are set for one pass at a time, and come off whatever
happens; the copy that they are set on is nobody else's.

Source: Athalye et al. 2018 (BPDA), with the place found by `walking`.
Cost: two more calls of each module that is replaced elementwise, 16 of one that is estimated.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from fgmf.gradient_masking.examined import DoubleEntry
from fgmf.gradient_masking.sources import Source
from fgmf.gradient_masking.walking import COARSE, mechanisms_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from fgmf.classifier import Classifier
    from fgmf.gradient_masking.walking import Walk
    from fgmf.types import Images, Logits

_PAIRS: Final = 8
_EXITS: Final = 4


@dataclass(frozen=True, kw_only=True)
class Repair:
    """What is done to a network.

    Attributes:
        replaced: Modules whose backward pass is replaced.
        identity: Replace those of one shape by the identity, elementwise or not.
        joined: Modules whose input is joined to the images again.
        exits: Modules whose outputs stand for the logits, several for the mean of what they say is
            likely; none: the model's own.
    """

    replaced: tuple[str, ...] = ()
    identity: bool = False
    joined: tuple[str, ...] = ()
    exits: tuple[str, ...] = ()


class RepairedLogits:
    """The logits of a repaired network.

    Args:
        model: A copy that nobody else uses.
        repair: What is done to it.
    """

    def __init__(self, model: Classifier, repair: Repair) -> None:
        self._model, self._repair = model, repair

    def __call__(self, images: Images) -> Logits:
        """Images (m, ...) to logits (m, classes)."""
        module = self._model.module
        if module is None:
            return self._model.logits(images)
        inside: Images = DoubleEntry.apply(images)  # type: ignore[no-untyped-call]
        with _repaired(module, self._repair) as surgery:
            logits = self._model.logits(inside)
        if not surgery.exits:
            return logits
        if len(surgery.exits) == 1:
            return surgery.exits[0]
        likely: Logits = torch.stack([e.log_softmax(dim=1) for e in surgery.exits]).mean(dim=0)
        return likely


class _Surgery:
    """The hooks of a repair, for one pass, and what they keep of it."""

    def __init__(self) -> None:
        self._exits: dict[int, torch.Tensor] = {}
        self._root: torch.Tensor | None = None
        self._by_shape: dict[tuple[int, ...], torch.Tensor] = {}

    def at_root(self, _module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Keep what the model is given."""
        if inputs and isinstance(inputs[0], torch.Tensor):
            self._root = inputs[0]

    def keep(self, _module: nn.Module, _inputs: tuple[Any, ...], output: object) -> None:
        """Keep what has a graph."""
        if isinstance(output, torch.Tensor) and output.requires_grad:
            self._by_shape[tuple(output.shape)] = output

    def join(self, _module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Join what a module is given to the images."""
        anchor = _anchor(inputs[0], self._root, self._by_shape)
        if anchor is None:
            return None
        return (anchor + (inputs[0] - anchor).detach(), *inputs[1:])

    def leave(self, module: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        """Keep the last tensor of a module that stands for the logits, with a graph if it can."""
        if not output.requires_grad and any(
            isinstance(given, torch.Tensor) and given.requires_grad for given in inputs
        ):
            with torch.enable_grad():
                again = module.forward(*inputs)
            output = again if isinstance(again, torch.Tensor) else output
        self._exits[id(module)] = output

    @property
    def exits(self) -> list[torch.Tensor]:
        """What stands for the logits."""
        return list(self._exits.values())


@contextmanager
def _repaired(module: nn.Module, repair: Repair) -> Iterator[_Surgery]:
    """Set the hooks of a repair; they come off at the end, whatever happens."""
    modules, surgery = dict(module.named_modules()), _Surgery()
    handles = [module.register_forward_pre_hook(surgery.at_root)]
    try:
        if repair.joined:
            handles += [m.register_forward_hook(surgery.keep) for n, m in modules.items() if n]
        handles += [modules[name].register_forward_pre_hook(surgery.join) for name in repair.joined]
        for name in repair.replaced:
            hook = _Replacing(identity=repair.identity)
            handles.append(modules[name].register_forward_hook(hook))
        handles += [modules[n].register_forward_hook(surgery.leave) for n in repair.exits]
        yield surgery
    finally:
        for handle in handles:
            handle.remove()


def _anchor(
    given: torch.Tensor, root: torch.Tensor | None, by_shape: dict[tuple[int, ...], torch.Tensor]
) -> torch.Tensor | None:
    """What a cut tensor is joined to: the images, resized if need be, or the last of its shape."""
    if root is not None and given.shape == root.shape:
        return root
    if root is not None and given.ndim == root.ndim == 4 and given.shape[:2] == root.shape[:2]:
        resized: torch.Tensor = torch.nn.functional.interpolate(
            root, size=tuple(given.shape[2:]), mode="bilinear", antialias=True
        )
        return resized
    return by_shape.get(tuple(given.shape))


class _Replacing:
    """A forward hook that keeps the value and replaces the gradient."""

    def __init__(self, *, identity: bool) -> None:
        self._identity, self._busy = identity, False

    def __call__(
        self, module: nn.Module, inputs: tuple[Any, ...], output: object
    ) -> torch.Tensor | None:
        if self._busy or not isinstance(output, torch.Tensor) or not inputs:
            return None
        given, value = inputs[0], output.detach()
        self._busy = True
        try:
            if given.shape != value.shape:
                estimated: torch.Tensor = _LocalEstimate.apply(given, value, module)  # type: ignore[no-untyped-call]
                return estimated
            if self._identity or not _is_elementwise(module, given):
                straight: torch.Tensor = given + (value - given).detach()
                return straight
            slope = _entry_slopes(module, given)
            moved: torch.Tensor = value + slope * (given - given.detach())
            return moved
        finally:
            self._busy = False


def _reach(given: torch.Tensor) -> float:
    return max(COARSE * float(given.detach().double().std()), 1e-12)


@torch.no_grad()
def _is_elementwise(module: nn.Module, given: torch.Tensor) -> bool:
    """Whether moving some entries moves no others."""
    row = given.detach()[:1]
    generator = torch.Generator().manual_seed(0)
    moved = (torch.rand(row.shape, generator=generator) < 0.5).to(row.device)
    ahead = module(torch.where(moved, row + 2 * _reach(given), row))
    return bool(torch.allclose(ahead[~moved], module(row)[~moved], rtol=0, atol=0))


@torch.no_grad()
def _entry_slopes(module: nn.Module, given: torch.Tensor) -> torch.Tensor:
    reach = _reach(given)
    start = given.detach()
    slopes: torch.Tensor = (module(start + reach) - module(start - reach)) / (2 * reach)
    return slopes


class _LocalEstimate(torch.autograd.Function):
    """A module's value, with a gradient estimated from its values around."""

    @staticmethod
    def forward(ctx: Any, given: torch.Tensor, value: torch.Tensor, module: Any) -> torch.Tensor:  # noqa: ANN401 - torch's context
        ctx.module = module
        ctx.save_for_backward(given)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # noqa: ANN401 - torch's context
        (given,), wanted = ctx.saved_tensors, gradients[0]
        reach = _reach(given)
        generator = torch.Generator().manual_seed(0)
        total = torch.zeros_like(given)
        with torch.no_grad():
            for _ in range(_PAIRS):
                signs = torch.randint(0, 2, given.shape[1:], generator=generator) * 2 - 1
                move = signs.to(given)
                rise = ctx.module(given + reach * move) - ctx.module(given - reach * move)
                gain = (rise * wanted).flatten(1).sum(dim=1) / (2 * reach * _PAIRS)
                total += gain.reshape(-1, *([1] * (given.ndim - 1))) * move
        return total, None, None


def repaired_sources(
    model: Classifier, walk: Walk, average: Callable[[Any], Any]
) -> Iterator[Source]:
    """Yield sources that undo what a walk found, the most likely first.

    Args:
        model: A copy that nobody else uses.
        walk: What was found in it.
        average: Averages over draws where the model draws.
    """
    faults, mechanisms = tuple(walk.faults), mechanisms_of(walk)
    layer = ", ".join([*faults, *(f"in front of {name}" for name in walk.cut)][:3])

    def made(name: str, repair: Repair, **more: Any) -> Source:
        logits = average(RepairedLogits(model, repair))
        values = {"mechanisms": mechanisms, "layer": layer, **more}
        return Source(name=name, logits=logits, **values)

    if faults or walk.cut:
        repair = Repair(replaced=faults, joined=walk.cut)
        yield made("backward pass replaced", repair)
        if faults:
            yield made(
                "backward pass of the identity",
                Repair(replaced=faults, joined=walk.cut, identity=True),
            )
    if walk.unheard:
        yield made(
            "members' logits together",
            Repair(replaced=faults, joined=walk.cut, exits=walk.members),
            mechanisms=(*mechanisms, "rejection", "vanishing"),
            layer=f"behind {', '.join(walk.members[:3])}",
            faithful=False,
        )
    for inner in walk.exits[:_EXITS]:
        repair = Repair(replaced=faults, joined=walk.cut, exits=(inner,))
        yield made(
            f"logits of {inner}",
            repair,
            mechanisms=(*mechanisms, "output-form", "vanishing"),
            layer=f"behind {inner}",
            faithful=False,
        )
    if walk.between and set(walk.between) != {walk.entry}:
        yield made(
            "straight through between modules",
            Repair(replaced=faults, joined=walk.between),
            mechanisms=mechanisms or ("wrong-gradient",),
        )
    if walk.entry is not None and walk.entry not in walk.cut:
        repair = Repair(joined=(walk.entry,))
        yield made(
            f"straight through to {walk.entry}",
            repair,
            mechanisms=mechanisms or ("shattered",),
            layer=f"in front of {walk.entry}",
        )
