"""Where in a network the gradient is lost or wrong: every module asked by itself.

    run a few images through, and keep what goes into each module and what comes out
    for each module, on what went in, with a random weighting c of what comes out:
        told    d<c, f(u)> / du along random signs
        small   its central differences at two small steps;    coarse   at a quarter of u's spread
        lost    told is zero or cannot be had, coarse is not zero
        wrong   both small steps agree, and told is something else
        erratic the small steps do not agree or change nothing, and told says nothing of coarse
    between modules: what goes in is cut from the images, though it comes from them
    behind them: an inner tensor of (n, classes) that decides as the output does

Only the deepest modules count: one whose inner module is found is not to blame itself. Random
modules are asked under one seed.

Source: BPDA of Athalye et al. 2018 asks for this to be done by hand.
Cost: about 12 passes of each module for 8 images: 12 forwards of the model for each.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import torch

from fgmf.classifier.memory import is_out_of_memory
from fgmf.gradient_masking.mechanisms import in_order
from fgmf.gradient_masking.members import find_members, unheard_images
from fgmf.gradient_masking.values import Symptom
from fgmf.seeding import isolated_randomness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from fgmf.classifier import Classifier
    from fgmf.gradient_masking.mechanisms import Mechanism
    from fgmf.types import Images, Logits

WALKERS: Final = 8
"""Images that are run through."""
_SMALL: Final = {torch.float64: 1e-6, torch.float32: 1e-3}
COARSE: Final = 0.25
_DIRECTIONS: Final = 3
_TIES: Final = 1e-2
_AGREE: Final = 0.05
_WRONG: Final = 0.1
_TELLS: Final = 0.3
_SAME_CLASSES: Final = 0.9
Fault = Literal["lost", "wrong", "erratic"]
_MECHANISM: Final[dict[Fault, Mechanism]] = {
    "lost": "blocked",
    "wrong": "wrong-gradient",
    "erratic": "shattered",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Call:
    """The first call of a module in one pass.

    Attributes:
        name: Of the module.
        module: Itself.
        order: Number of the call.
        given: What went in, as it was, with its graph.
        made: What came out, likewise; None if it was no tensor.
    """

    name: str
    module: nn.Module
    order: int
    given: torch.Tensor
    made: torch.Tensor | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Walk:
    """What a walk through the modules found.

    Attributes:
        faults: Modules at which the gradient is lost or wrong, by name.
        cut: Modules that are given something cut from the images.
        entry: The last module that is given something like the images, but not them; None if
            there is none.
        between: Modules that are given what no module has made: a function stands in front.
        exits: Modules whose output decides as the model does, the last first.
        members: Modules that answer beside each other (`members`).
        unheard: Images of which no gradient reaches some member's answer.
        image_count: Images that were run through.
    """

    faults: dict[str, Fault]
    cut: tuple[str, ...]
    entry: str | None
    between: tuple[str, ...]
    exits: tuple[str, ...]
    members: tuple[str, ...] = ()
    unheard: int = 0
    image_count: int = WALKERS


class _Recorder:
    """Hooks that keep the first call of every inner module, and what the model itself is given."""

    def __init__(self) -> None:
        self._begun: dict[str, tuple[int, torch.Tensor]] = {}
        self._calls: dict[str, Call] = {}
        self.root: torch.Tensor | None = None

    @property
    def calls(self) -> list[Call]:
        """In the order in which they began."""
        return sorted(self._calls.values(), key=lambda call: call.order)

    def begin(self, name: str, inputs: tuple[Any, ...]) -> None:
        """Keep what a module is given."""
        if not inputs or not isinstance(inputs[0], torch.Tensor):
            return
        if not name and self.root is None:
            self.root = inputs[0]
        self._begun.setdefault(name, (len(self._begun), inputs[0]))

    def end(self, name: str, module: nn.Module, output: object) -> None:
        """Keep what it makes of it."""
        if name not in self._begun or name in self._calls or not name:
            return
        order, given = self._begun[name]
        made = output if isinstance(output, torch.Tensor) else None
        self._calls[name] = Call(name=name, module=module, order=order, given=given, made=made)


@contextmanager
def recorded_calls(module: nn.Module) -> Iterator[_Recorder]:
    """Record the modules' calls; the hooks come off at the end, whatever happens."""
    recorder, handles = _Recorder(), []

    def before(name: str) -> Callable[..., None]:
        return lambda _module, inputs: recorder.begin(name, inputs)

    def after(name: str) -> Callable[..., None]:
        return lambda called, _inputs, output: recorder.end(name, called, output)

    try:
        for name, child in module.named_modules():
            handles.append(child.register_forward_pre_hook(before(name)))
            handles.append(child.register_forward_hook(after(name)))
        yield recorder
    finally:
        for handle in handles:
            handle.remove()


def walk(model: Classifier, images: Images, *, seed: int) -> Walk | None:
    """Look for the places at which a model's gradient is lost or wrong.

    Args:
        model: A copy that nobody else uses, in float64 if it can be, inside a guard.
        images: (m, ...) a few.
        seed: Of weightings, directions, and draws of the model.

    Returns:
        What was found; None where the model is no module, or cannot be run like this.
    """
    module = model.module
    if module is None:
        return None
    leaf = images[:WALKERS].to(model.dtype).detach().clone().requires_grad_()
    try:
        with isolated_randomness(seed), torch.enable_grad(), recorded_calls(module) as record:
            logits = model.logits(leaf)
    except Exception as error:  # a user's model can raise anything
        if is_out_of_memory(error):
            raise
        return None
    if record.root is None:
        return None
    usable = [call for call in record.calls if call.given.is_floating_point()]
    members = find_members(usable, logits)
    unheard = unheard_images(members, logits) if members else 0
    return Walk(
        faults=_faults(usable, seed),
        cut=tuple(_cut(usable)),
        entry=_entry(usable, record.root),
        between=tuple(_between(usable, record.root)),
        exits=tuple(_exits(usable, logits)),
        members=tuple(call.name for call in members),
        unheard=unheard,
        image_count=len(leaf),
    )


def _faults(calls: list[Call], seed: int) -> dict[str, Fault]:
    found: dict[str, Fault] = {}
    # Inner modules begin after the one that they are in: the deepest first.
    for call in reversed(calls):
        if any(name.startswith(f"{call.name}.") for name in found):
            continue
        fault = _fault_of(call, seed)
        if fault is not None:
            found[call.name] = fault
    return found


def _fault_of(call: Call, seed: int) -> Fault | None:
    made = call.made
    if made is None or not made.is_floating_point():
        return None
    spread = float(call.given.detach().double().std()) if call.given.numel() > 1 else 0.0
    if not spread > 0:
        return None
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(call.given.shape, generator=generator).to(call.given)
    # Off exact ties, at which a maximum has several gradients.
    given = call.given.detach() + _TIES * spread * (2 * noise - 1)
    call = replace(call, given=given)

    def signs(like: torch.Tensor) -> torch.Tensor:
        drawn = torch.randint(0, 2, like.shape, generator=generator) * 2 - 1
        return drawn.to(like)

    weights = signs(made)
    step = _SMALL.get(given.dtype, _SMALL[torch.float32]) * spread
    told, small, smaller, coarse = [], [], [], []
    try:
        slope = _slope(call, weights, seed)
        for _ in range(_DIRECTIONS):
            move = signs(given)
            rise = _Rise(call=call, weights=weights, move=move, seed=seed)
            told.append((slope * move).flatten(1).sum(dim=1))
            small.append(rise(step))
            smaller.append(rise(step / 4))
            far = rise(COARSE * spread)
            coarse.append(far if bool((far != 0).any()) else rise(spread))
    except Exception as error:  # a module out of its place can raise anything
        if is_out_of_memory(error):
            raise
        return None
    return _verdict(*(torch.cat(column).double() for column in (told, small, smaller, coarse)))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rise:
    """Slopes of a weighted output along a move, one per image."""

    call: Call
    weights: torch.Tensor
    move: torch.Tensor
    seed: int

    def __call__(self, step: float) -> torch.Tensor:
        ahead = self._weighted(self.call.given.detach() + step * self.move)
        return (ahead - self._weighted(self.call.given.detach() - step * self.move)) / (2 * step)

    def _weighted(self, given: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), isolated_randomness(self.seed):
            made = self.call.module(given)
        weighted: torch.Tensor = (made * self.weights).flatten(1).sum(dim=1)
        return weighted


def _slope(call: Call, weights: torch.Tensor, seed: int) -> torch.Tensor:
    leaf = call.given.detach().clone().requires_grad_()
    with torch.enable_grad(), isolated_randomness(seed):
        made = call.module(leaf)
        if not made.requires_grad:
            return torch.zeros_like(leaf)
        (slope,) = torch.autograd.grad(
            (made * weights).sum(), leaf, allow_unused=True, materialize_grads=True
        )
    return slope.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def _verdict(
    told: torch.Tensor, small: torch.Tensor, smaller: torch.Tensor, coarse: torch.Tensor
) -> Fault | None:
    size = float(coarse.norm())
    if size == 0:
        return None
    if float(told.norm()) <= 1e-9 * size:
        return "lost"
    steep = float(small.norm())
    agree = steep > 0 and float((small - smaller).norm()) <= _AGREE * steep
    gap = float((told - small).norm()) / max(float(told.norm()), float(small.norm()), 1e-300)
    if agree:
        return "wrong" if gap > _WRONG else None
    tells = float(told @ coarse) / (float(told.norm()) * size)
    return "erratic" if tells < _TELLS else None


def _cut(calls: list[Call]) -> Iterator[str]:
    """Modules that are given something without a graph, after others had one."""
    for number, call in enumerate(calls):
        if not call.given.requires_grad and (number == 0 or calls[number - 1].given.requires_grad):
            yield call.name


def _entry(calls: list[Call], root: torch.Tensor) -> str | None:
    """The last module that is given an image of the same kind, but another one."""
    alike = [
        call
        for call in calls
        if call.given.ndim == root.ndim
        and call.given.shape[:2] == root.shape[:2]
        and call.given is not root
    ]
    return alike[-1].name if alike else None


def _between(calls: list[Call], root: torch.Tensor) -> Iterator[str]:
    known = {id(root)} | {id(call.made) for call in calls}
    told: set[int] = set()
    for call in calls:
        # A module and its first inner one are given the same tensor: the outer one counts.
        if id(call.given) not in known | told:
            told.add(id(call.given))
            yield call.name


def _exits(calls: list[Call], logits: Logits) -> Iterator[str]:
    """Modules whose output is like logits: they decide as the model does.

    Equal values count as well, unless it is the very tensor: what follows may change the gradient.
    """
    classes, told = logits.detach().argmax(dim=1), {id(logits)}
    for call in reversed(calls):
        made = call.made
        if made is None or made.shape != logits.shape or not made.is_floating_point():
            continue
        same = (made.detach().argmax(dim=1) == classes).double().mean()
        if float(same) >= _SAME_CLASSES and id(made) not in told:
            told.add(id(made))
            yield call.name


def probe_layers(found: Walk) -> Symptom:
    """Count the places at which a walk found the gradient lost or wrong."""
    places = [f"{name} ({fault})" for name, fault in found.faults.items()]
    places += [f"{name} (given something cut)" for name in found.cut]
    return Symptom(
        name="layer-at-fault",
        value=float(len(places)),
        limit=0.5,
        stands=bool(places),
        image_count=found.image_count,
        mechanisms=mechanisms_of(found),
        layer=", ".join([*found.faults, *(f"in front of {name}" for name in found.cut)][:3]),
        note=", ".join(places[:5]) or "every module's gradient is that of its function",
    )


def mechanisms_of(found: Walk) -> tuple[Mechanism, ...]:
    """Return what the faults of a walk speak for."""
    named = [_MECHANISM[fault] for fault in found.faults.values()]
    return in_order([*named, *(["blocked"] if found.cut else [])])  # type: ignore[list-item] # literal
