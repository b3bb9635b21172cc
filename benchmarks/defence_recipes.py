"""The defences that `defence_table` compares, and the networks that they are trained on.

Every defence has one learning rate for each network, chosen on validation images among `RATES`.
Everything else is the recipe's default, but for what a name says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from fgmf.backbones import (
    ConvNet,
    ConvNetConfig,
    HybridConfig,
    HybridNet,
    SpikingConfig,
    SpikingNet,
    ViT,
    ViTConfig,
)
from fgmf.scorpio import (
    Amortised,
    PathCurvature,
    QuadraticAscent,
    Salience,
    SalientAnswer,
    Scorpio,
)
from fgmf.sgam import Sgam
from fgmf.training import (
    AmoRecipe,
    CureRecipe,
    DistillationRecipe,
    FgsmRsRecipe,
    GradAlignRecipe,
    GradientPenaltyRecipe,
    GuidedRecipe,
    LlrRecipe,
    NFgsmRecipe,
    PgdRecipe,
    SaliencyGuidedRecipe,
    Schedule,
    ScorpioRecipe,
    SgamRecipe,
    SmoothedRecipe,
    StandardRecipe,
    Teacher,
    TradesRecipe,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from fgmf.training import KeepingRecipe, Recipe

EPSILON = 0.1
EPOCHS = 10

Backbone = Literal["cnn", "vit", "hybrid"]
BACKBONES: tuple[Backbone, ...] = ("cnn", "vit", "hybrid")
RATES: dict[Backbone, tuple[float, ...]] = {
    "cnn": (3e-3, 6e-3, 1.2e-2, 2.4e-2, 4.8e-2, 9.6e-2),
    "vit": (1.5e-3, 3e-3, 6e-3, 1.2e-2, 2.4e-2, 4.8e-2),
    "hybrid": (1.5e-3, 3e-3, 6e-3, 1.2e-2, 2.4e-2, 4.8e-2),
}


@dataclass(frozen=True, kw_only=True)
class Defence:
    """One row.

    Attributes:
        make: The recipe, from a schedule and a teacher (None where none is asked for).
        teacher: The row that trains the teacher.
        network: Instead of the backbone's own.
        wrapped: Behind the saliency mask.
        rate_of: The row whose learning rate it takes; its own was not chosen.
    """

    make: Callable[[Schedule, Teacher | None], Recipe | KeepingRecipe]
    teacher: str = ""
    network: Literal["", "spiking"] = ""
    wrapped: bool = False
    rate_of: str = ""


def _plain(make: Callable[[Schedule], Recipe | KeepingRecipe]) -> Defence:
    return Defence(make=lambda schedule, _: make(schedule))


def _taught(by: str, make: Callable[[Schedule, Teacher], Recipe | KeepingRecipe]) -> Defence:
    def made(schedule: Schedule, teacher: Teacher | None) -> Recipe | KeepingRecipe:
        if teacher is None:
            raise ValueError("expected a teacher, got none")
        return make(schedule, teacher)

    return Defence(make=made, teacher=by)


def _wrapped(make: Callable[[Schedule], Recipe | KeepingRecipe]) -> Defence:
    return Defence(make=lambda schedule, _: SgamRecipe(recipe=make(schedule)), wrapped=True)


def amo(schedule: Schedule) -> AmoRecipe:
    """Stored perturbations alone."""
    return AmoRecipe(epsilon=EPSILON, schedule=schedule)


def scor_pio_2(schedule: Schedule) -> AmoRecipe:
    """SCOR-PIO 2.0 in its default configuration."""
    return AmoRecipe.scor_pio_2(EPSILON, schedule=schedule)


def as_described(schedule: Schedule, **changed: object) -> ScorpioRecipe:
    """The method as the document describes it: salient pixels by integrated gradients from black,
    exact products, the PSD penalty on.
    """
    ascent = QuadraticAscent(epsilon=EPSILON, steps=1, bounds=(0.0, 1.0))
    described = Scorpio(
        ascent=ascent,
        mode="double-backward",
        salience=Salience(method="integrated-gradients", baseline="zero", steps=2, share=0.3),
        psd_weight=1.0,
    )
    return ScorpioRecipe(scorpio=replace(described, **changed), schedule=schedule)  # type: ignore[arg-type]


def scorpio_v1(schedule: Schedule) -> ScorpioRecipe:
    """SCORPIO as it was published."""
    ascent = QuadraticAscent(epsilon=EPSILON, steps=1, bounds=(0.0, 1.0))
    return ScorpioRecipe(scorpio=Scorpio.v1(ascent), schedule=schedule)


DEFENCES: dict[str, Defence] = {
    "standard": _plain(lambda s: StandardRecipe(schedule=s)),
    "smoothed": _plain(lambda s: SmoothedRecipe(schedule=s)),
    "fgsm-rs": _plain(lambda s: FgsmRsRecipe(epsilon=EPSILON, schedule=s)),
    "n-fgsm": _plain(lambda s: NFgsmRecipe(epsilon=EPSILON, schedule=s)),
    "pgd-7": _plain(lambda s: PgdRecipe(epsilon=EPSILON, schedule=s)),
    "trades": _plain(lambda s: TradesRecipe(epsilon=EPSILON, schedule=s)),
    "cure": _plain(lambda s: CureRecipe(schedule=s)),
    "llr": _plain(lambda s: LlrRecipe(epsilon=EPSILON, schedule=s)),
    "gradient-penalty": _plain(lambda s: GradientPenaltyRecipe(schedule=s)),
    "grad-align": _plain(lambda s: GradAlignRecipe(epsilon=EPSILON, schedule=s)),
    "saliency-guided": _plain(lambda s: SaliencyGuidedRecipe(schedule=s)),
    "hot": _plain(lambda s: SmoothedRecipe(label_smoothing=0.0, temperature=20.0, schedule=s)),
    "defensive-distillation": _taught(
        "hot", lambda s, t: DistillationRecipe(teacher=t, temperature=20.0, schedule=s)
    ),
    "smoothing-distillation": _taught(
        "standard",
        lambda s, t: DistillationRecipe(teacher=t, temperature=4.0, hard_weight=0.5, schedule=s),
    ),
    "guided-distillation": _taught(
        "pgd-7", lambda s, t: GuidedRecipe(epsilon=EPSILON, teacher=t, schedule=s)
    ),
    "spiking": Defence(make=lambda s, _: StandardRecipe(schedule=s), network="spiking"),
    "scorpio-v1": _plain(scorpio_v1),
    "as-described": _plain(as_described),
    "amo": _plain(amo),
    "scor-pio-2": _plain(scor_pio_2),
    "amo-sgam": _wrapped(amo),
    "scor-pio-2-sgam": _wrapped(scor_pio_2),
}
"""By name, in the order of the table."""


def _described(**changed: object) -> Defence:
    return Defence(make=lambda s, _: as_described(s, **changed), rate_of="as-described")


def _described_salience(**changed: object) -> Defence:
    described = as_described(Schedule()).scorpio.salience
    if described is None:
        raise ValueError("the method as described is salient")
    return _described(salience=replace(described, **changed))  # type: ignore[arg-type]


def _changed(**changes: object) -> Defence:
    return Defence(
        make=lambda s, _: replace(scor_pio_2(s), **changes),  # type: ignore[arg-type]
        rate_of="scor-pio-2",
    )


def _answer(weight: float) -> Defence:
    return _changed(answer=SalientAnswer(weight=weight))


def _path(weight: float) -> Defence:
    return _changed(path=PathCurvature(weight=weight))


def _terms(**weights: float) -> Defence:
    """The document's terms besides."""
    return Defence(
        make=lambda s, _: AmoRecipe.scor_pio_2(EPSILON, schedule=s, **weights),
        rate_of="scor-pio-2",
    )


def _seldom_psd(schedule: Schedule) -> AmoRecipe:
    """The PSD term and the answer's at half as many updates, each with twice its weight."""
    made = AmoRecipe.scor_pio_2(EPSILON, schedule=schedule, psd_weight=0.2)
    return replace(made, every=4, answer=SalientAnswer(weight=2.0))


def _ascent(steps: int) -> QuadraticAscent:
    return QuadraticAscent(epsilon=EPSILON, steps=steps, bounds=(0.0, 1.0))


ABLATIONS: dict[str, Defence] = {
    "described, q 0.6": _described_salience(share=0.6),
    "described, q 1": _described(salience=None),
    "described, K 0": _described(ascent=_ascent(0)),
    "described, K 3": _described(ascent=_ascent(3)),
    "described, secant": _described(mode="finite-difference"),
    "described, no PSD": _described(psd_weight=0.0),
    "described, IG from noise": _described_salience(baseline="noise"),
    "described, IG from blur": _described_salience(baseline="blur"),
    "described, IG 8 steps": _described_salience(steps=8),
    "described, gradient": _described_salience(method="gradient"),
    "answer 0": _changed(answer=None),
    "answer 0.2": _answer(0.2),
    "answer 4": _answer(4.0),
    "answer, every update": _changed(every=1, answer=SalientAnswer(weight=0.5)),
    "answer, every fourth": _changed(every=4, answer=SalientAnswer(weight=2.0)),
    "answer, whole batch": _changed(share=1.0),
    "overshoot 1.1": _changed(overshoot=1.1),
    "smoothed 0.1": _changed(label_smoothing=0.1),
    "AMO's refresh": _changed(amortised=Amortised()),
    "path 0.005": _path(0.005),
    "path 0.02": _path(0.02),
    "path 0.1": _path(0.1),
    "rise": _terms(weight=0.3),
    "psd": _terms(psd_weight=0.1),
    "psd, every fourth": Defence(make=lambda s, _: _seldom_psd(s), rate_of="scor-pio-2"),
    "keep": _terms(keep_weight=0.3),
    "rise, psd, keep": _terms(weight=0.3, psd_weight=0.1, keep_weight=0.3),
}
"""One thing changed in `as-described` or `scor-pio-2`."""
ROWS = DEFENCES | ABLATIONS


def new_network(backbone: Backbone, defence: Defence, seed: int) -> nn.Module:
    """The network of a row, with the first weights of a seed."""
    made: nn.Module
    if defence.network == "spiking":
        made = SpikingNet(SpikingConfig(widths=(8, 16), time_steps=6), seed=seed)
    elif backbone == "cnn":
        made = ConvNet(ConvNetConfig(widths=(8, 16), hidden=64), seed=seed)
    elif backbone == "vit":
        made = ViT(ViTConfig(patch_side=7, width=48, depth=2, heads=4), seed=seed)
    else:
        made = HybridNet(HybridConfig(stem_widths=(8, 16, 32), depth=2), seed=seed)
    return Sgam.wrap(made, channels=1, seed=seed) if defence.wrapped else made
