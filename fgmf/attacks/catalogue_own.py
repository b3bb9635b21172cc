"""The attacks of our own that a gate can name: plain data.

Nothing heavy is imported. The bridge (`own_bridge`) turns an entry into an attack of
`fgmf.attacks.own`. Every one takes many images at once, and knows every criterion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.attacks.entries import CatalogueEntry, Parameter

if TYPE_CHECKING:
    from fgmf.types import Norm

_ALL: tuple[Norm, ...] = ("linf", "l2", "l1")


def _count(default: int, meaning: str) -> Parameter:
    return Parameter(default=default, lowest=1, meaning=meaning)


_STEPS = _count(100, "iterations of a run")
_RANDOM_START = Parameter(default=True, meaning="start at a random point of the ball")
DRAWS = "draws"
"""The parameter of every attack of our own that switches EOT on."""
_EOT = {DRAWS: _count(1, "answers that are averaged per question, for models that draw (EOT)")}


def _apgd(name: str, title: str, **more: Parameter) -> CatalogueEntry:
    return CatalogueEntry(
        name=name,
        title=title,
        engine="own",
        made_for=_ALL,
        whole_list=True,
        follows_margin=name != "apgd-ce",
        parameters={"steps": _STEPS, **more, "random_start": _RANDOM_START, **_EOT},
    )


OWN_ENTRIES = (
    _apgd("apgd-ce", "APGD-CE"),
    _apgd("apgd-dlr", "APGD-DLR"),
    _apgd("apgd-dlr-t", "APGD-DLR-T", targets=_count(9, "wrong classes aimed at in turn")),
    _apgd("apgd-margin", "APGD-margin"),
    CatalogueEntry(
        name="minimum-margin",
        follows_margin=True,
        title="minimum margin",
        engine="own",
        made_for=_ALL,
        whole_list=True,
        parameters={
            "targets": _count(9, "wrong classes aimed at in turn"),
            "steps": _count(20, "iterations on each class"),
            "random_start": _RANDOM_START,
            **_EOT,
        },
    ),
    CatalogueEntry(
        name="focused-margin",
        follows_margin=True,
        title="focused margin",
        engine="own",
        made_for=_ALL,
        whole_list=True,
        parameters={
            "targets": _count(5, "classes of the short look at every image"),
            "steps": _count(8, "iterations on each"),
            "far": Parameter(
                default=0.36,
                above=0.0,
                highest=1.0,
                meaning="share of the clean margin: images with more left are not looked at again",
            ),
            "long_targets": _count(5, "classes of the long look at those that came near"),
            "long_steps": _count(30, "iterations on each; three times as many on the nearest"),
            **_EOT,
        },
    ),
    CatalogueEntry(
        name="minimum-norm",
        follows_margin=True,
        title="minimum norm",
        engine="own",
        made_for=_ALL,
        whole_list=True,
        minimum_norm=True,
        random=False,
        parameters={
            "steps": _count(60, "iterations on each class"),
            "targets": _count(2, "nearest classes aimed at"),
            "candidates": _count(9, "wrong classes among which the nearest are looked for"),
            **_EOT,
        },
    ),
    CatalogueEntry(
        name="square",
        follows_margin=True,
        title="Square",
        engine="own",
        made_for=("linf", "l2"),
        whole_list=True,
        needs_gradient=False,
        parameters={
            "queries": _count(1000, "most questions per image"),
            "p_init": Parameter(
                default=0.8, above=0.0, highest=1.0, meaning="share of the image first changed"
            ),
            **_EOT,
        },
    ),
    CatalogueEntry(
        name="random-search",
        title="random search",
        engine="own",
        made_for=_ALL,
        whole_list=True,
        needs_gradient=False,
        parameters={"queries": _count(100, "points per image"), **_EOT},
    ),
)
