"""Symptoms inside of one forward pass: does the model optimise or clean its input by itself?

    asked      passes with calls of torch.autograd.grad and Tensor.backward in them
    rounds     the most often that one module with parameters of its own runs in one pass

Calls are seen by a mode of torch's own dispatch, which watches without replacing anything; rounds
by hooks, which come off whatever happens. A model that optimises inside is attacked through a
gradient that is not that of its whole way.

Source: AutoAttack's warning of an inner optimisation (Croce and Hein 2020) traces every Python
call with `sys.settrace`, which breaks debuggers and coverage; this does not.
Cost: one forward pass for each of at most 4 images.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.overrides import TorchFunctionMode

from fgmf.classifier.memory import is_out_of_memory
from fgmf.gradient_masking.values import Symptom
from fgmf.seeding import isolated_randomness
from fgmf.statistics import binomial_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from fgmf.gradient_masking.examined import Examined

_FEW: Final = 4
_ASKS: Final = frozenset({torch.autograd.grad, torch.autograd.backward, torch.Tensor.backward})


class _Watching(TorchFunctionMode):
    """Counts what asks for gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401 - torch's signature
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - torch's signature
        """Note the call and make it."""
        self.asked += func in _ASKS
        return func(*args, **(kwargs or {}))


@contextmanager
def _counted(module: nn.Module | None) -> Iterator[Counter[str]]:
    """Count the calls of every inner module that has parameters of its own."""
    rounds: Counter[str] = Counter()
    handles: list[Any] = []

    def note(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object) -> None:
            rounds[name] += 1

        return hook

    try:
        for name, inner in [] if module is None else list(module.named_modules()):
            if name and any(True for _ in inner.parameters(recurse=False)):
                handles.append(inner.register_forward_pre_hook(note(name)))
        yield rounds
    finally:
        for handle in handles:
            handle.remove()


def probe_insides(scouts: Examined) -> Symptom:
    """Look whether a forward pass asks for gradients itself.

    Args:
        scouts: The model on some images.

    Returns:
        The share of passes that ask for gradients, one pass for each of a few images; how often
        they ask, and a module runs, stands in the note.
    """
    few = scouts.of(torch.arange(min(_FEW, len(scouts))))
    asked: list[int] = []
    why, rounds = "", Counter[str]()
    for row in range(len(few)):
        calls, seen, ended = _one_pass(few.of(torch.tensor([row])))
        asked.append(calls)
        rounds |= seen
        why = why or ended
    few.fresh()
    asking = sum(calls > 0 for calls in asked)
    busiest, most = (rounds.most_common(1) or [("", 0)])[0]
    note = f"passes that ask for gradients themselves, up to {max(asked)} times"
    if most > 1:
        note += f"; {busiest} runs {most} times in one"
    return Symptom(
        name="optimises-inside",
        value=asking / len(few),
        limit=0.0,
        stands=asking > 0,
        image_count=len(few),
        interval=binomial_interval(asking, len(few), confidence=0.95),
        mechanisms=("inner-optimisation",),
        layer=busiest if asking and most > 1 else "",
        note=note + why,
        passes=len(few),
    )


def _one_pass(single: Examined) -> tuple[int, Counter[str], str]:
    """Calls for gradients, rounds of every module, and why the pass ended early, if it did."""
    watching, why = _Watching(), ""
    single.fresh()
    with isolated_randomness(single.seed), _counted(single.classifier.module) as rounds:
        try:
            with torch.enable_grad(), watching:
                leaf = single.images.to(single.workplace).clone().requires_grad_()
                single.classifier.logits(leaf)
        except Exception as error:  # a user's model can raise anything
            if is_out_of_memory(error):
                raise
            why = f"; a pass ended in {type(error).__name__}"
    return watching.asked, rounds, why
