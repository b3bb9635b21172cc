"""Do several members answer, and does the model listen to all of them?

    members   modules that are given the very same tensor, and each make something shaped like the
              logits: the deepest of each branch
    unheard   images for which the gradient of the margin does not reach some member's answer

A mean of members lets gradients through to each; a vote, a rejection where they disagree, or a
member that is asked without a graph does not, though the output depends on all of them.

Source: ours; attacks on the members in place of the vote are those of Tramer et al. 2020.
Cost: no forward pass of its own; one backward pass for each of the images of the walk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from fgmf.gradient_masking.values import Symptom
from fgmf.statistics import binomial_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.gradient_masking.walking import Call
    from fgmf.types import Logits

_MOST: Final = 0.5


def find_members(calls: Sequence[Call], logits: Logits) -> tuple[Call, ...]:
    """Find modules that answer beside each other.

    Args:
        calls: Of one pass.
        logits: What it ended in.

    Returns:
        Two or more, in order; none where nothing answers beside another.
    """
    alike: dict[int, list[Call]] = {}
    for call in calls:
        if call.made is not None and call.made.shape == logits.shape:
            alike.setdefault(id(call.given), []).append(call)
    for group in alike.values():
        names = [call.name for call in group]
        deepest = [
            call for call in group if not any(other.startswith(f"{call.name}.") for other in names)
        ]
        if len(deepest) > 1:
            return tuple(deepest)
    return ()


def unheard_images(members: Sequence[Call], logits: Logits) -> int:
    """Count images for which no gradient reaches some member's answer.

    Args:
        members: Of the pass, with their graphs.
        logits: What it ended in, with its graph.
    """
    reached = torch.ones(len(logits), dtype=torch.bool)
    if not logits.requires_grad:
        return len(logits)
    best = logits.detach().topk(2, dim=1).indices
    margin = (logits.gather(1, best[:, :1]) - logits.gather(1, best[:, 1:2])).sum()
    for member in members:
        if member.made is None or not member.made.requires_grad:
            return len(logits)
        (slope,) = torch.autograd.grad(
            margin, member.made, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        reached &= (slope.nan_to_num(nan=0.0) != 0).flatten(1).any(dim=1).cpu()
    return int((~reached).sum())


def probe_members(names: Sequence[str], unheard: int, count: int) -> Symptom:
    """Say how many images some member is not heard on.

    Args:
        names: Of the members; fewer than two are none.
        unheard: Images for which no gradient reaches some member.
        count: Images.
    """
    few = len(names) < 2
    return Symptom(
        name="members-unheard",
        value=0.0 if few else unheard / count,
        limit=_MOST,
        stands=not few and unheard > _MOST * count,
        image_count=count,
        interval=binomial_interval(0 if few else unheard, count, confidence=0.95),
        mechanisms=("rejection",),
        layer="" if few else ", ".join(names[:3]),
        note="no members answer beside each other"
        if few
        else f"images for which no gradient reaches one of {len(names)} members' answers",
        passes=0 if few else count,
    )
