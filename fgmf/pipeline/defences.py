"""The table ``[defence]`` of a recipe file: one pydantic model per defence, by name.

Each says its hyper-parameters with their ranges, and builds the recipe of `fgmf.training` that it
is about. Torch is imported when a recipe is built, not when a file is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

from pydantic import Field, field_validator

from fgmf.errors import InvalidInput
from fgmf.gatefile.tables import Table
from fgmf.pipeline.tables import BelowOne, Count, NotNegative, Positive, Share
from fgmf.threat import parse_epsilon

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.training import AmoRecipe, KeepingRecipe, Recipe, Schedule
    from fgmf.types import Bounds

Warmth = Annotated[float, Field(ge=0, lt=1)]


class DefenceTable(Table):
    """What all defences share."""

    needs_teacher: ClassVar[bool] = False
    """Whether a table ``[teacher]`` must be there."""

    name: str

    @property
    def budget(self) -> float | None:
        """The epsilon that it trains for, or None."""
        value = getattr(self, "epsilon", None)
        return None if value is None else parse_epsilon(value)

    def build(self, schedule: Schedule, bounds: Bounds) -> Recipe | KeepingRecipe:
        """Return the recipe."""
        raise NotImplementedError


class BudgetTable(DefenceTable):
    """A defence within a budget in Linf."""

    epsilon: float | str
    """Budget in the units of the bounds, as a number or a fraction such as "8/255"."""
    warm_up: Warmth = 0.2
    """Share of the training over which the budget grows from 0."""

    @field_validator("epsilon")
    @classmethod
    def _epsilon(cls, value: float | str) -> float | str:
        if parse_epsilon(value) == 0:
            raise ValueError("a budget > 0")
        return value

    @property
    def _epsilon_number(self) -> float:
        return parse_epsilon(self.epsilon)


class StandardTable(DefenceTable):
    """Cross-entropy on clean images."""

    name: Literal["standard"]

    def build(self, schedule: Schedule, bounds: Bounds) -> Recipe:
        """Return the recipe."""
        from fgmf.training import StandardRecipe

        return StandardRecipe(schedule=schedule, bounds=bounds)


class NFgsmTable(BudgetTable):
    """One step from noise, no projection."""

    name: Literal["n-fgsm"]
    noise: NotNegative = 1.0
    step: Positive = 1.0

    def build(self, schedule: Schedule, bounds: Bounds) -> Recipe:
        """Return the recipe."""
        from fgmf.training import NFgsmRecipe

        return NFgsmRecipe(
            epsilon=self._epsilon_number,
            noise=self.noise,
            step=self.step,
            warm_up=self.warm_up,
            bounds=bounds,
            schedule=schedule,
        )


class PgdTable(BudgetTable):
    """Several steps, projected."""

    name: Literal["pgd"]
    steps: Count = 7
    step: Positive | None = None

    def build(self, schedule: Schedule, bounds: Bounds) -> Recipe:
        """Return the recipe."""
        from fgmf.training import PgdRecipe

        return PgdRecipe(
            epsilon=self._epsilon_number,
            steps=self.steps,
            step=self.step,
            warm_up=self.warm_up,
            bounds=bounds,
            schedule=schedule,
        )


class TradesTable(BudgetTable):
    """Clean loss and divergence."""

    name: Literal["trades"]
    beta: Positive = 6.0
    steps: Count = 7
    step: Positive | None = None

    def build(self, schedule: Schedule, bounds: Bounds) -> Recipe:
        """Return the recipe."""
        from fgmf.training import TradesRecipe

        return TradesRecipe(
            epsilon=self._epsilon_number,
            beta=self.beta,
            steps=self.steps,
            step=self.step,
            warm_up=self.warm_up,
            bounds=bounds,
            schedule=schedule,
        )


class ScorpioTable(BudgetTable):
    """The quadratic penalty of SCORPIO, as published."""

    name: Literal["scorpio"]
    steps: Annotated[int, Field(ge=0)] = 1
    mode: Literal["finite-difference", "double-backward"] = "finite-difference"
    weight: Positive = 1.0

    def build(self, schedule: Schedule, bounds: Bounds) -> Recipe:
        """Return the recipe."""
        from dataclasses import replace

        from fgmf.scorpio import QuadraticAscent, Scorpio
        from fgmf.training import ScorpioRecipe

        ascent = QuadraticAscent(epsilon=self._epsilon_number, steps=self.steps, bounds=bounds)
        scorpio = replace(Scorpio.v1(ascent, weight=self.weight), mode=self.mode)
        return ScorpioRecipe(
            scorpio=scorpio, warm_up=self.warm_up, bounds=bounds, schedule=schedule
        )


class AmoTable(BudgetTable):
    """Stored perturbations, one fresh gradient."""

    name: Literal["amo"]
    overshoot: Positive = 1.1
    noise: NotNegative = 0.5
    step: Positive = 1.5
    label_smoothing: BelowOne = 0.1

    def build(self, schedule: Schedule, bounds: Bounds) -> AmoRecipe:
        """Return the recipe."""
        from fgmf.scorpio import Amortised
        from fgmf.training import AmoRecipe

        return AmoRecipe(
            epsilon=self._epsilon_number,
            overshoot=self.overshoot,
            amortised=Amortised(noise=self.noise, step=self.step),
            label_smoothing=self.label_smoothing,
            warm_up=self.warm_up,
            bounds=bounds,
            schedule=schedule,
        )


class ScorPio2Table(AmoTable):
    """SCOR-PIO 2.0: stored perturbations, and a penalty along salient, exploitable directions."""

    name: Literal["scor-pio-2"]  # type: ignore[assignment]
    weight: NotNegative = 0.3
    psd_weight: NotNegative = 0.1
    keep_weight: NotNegative = 0.3
    salience: Literal["gradient", "gradient-times-input", "integrated-gradients"] = "gradient"
    baseline: Literal["zero", "noise", "blur"] = "noise"
    salience_steps: Count = 2
    salient_share: Share = 0.7
    ascent_steps: Annotated[int, Field(ge=0)] = 0
    mode: Literal["finite-difference", "double-backward"] = "finite-difference"
    every: Count = 4
    """Updates between two penalties."""
    share: Share = 0.25
    """Of the batch that a penalty looks at."""

    def build(self, schedule: Schedule, bounds: Bounds) -> AmoRecipe:
        """Return the recipe."""
        from dataclasses import replace

        from fgmf.scorpio import QuadraticAscent, Salience, Scorpio

        penalty = Scorpio(
            ascent=QuadraticAscent(
                epsilon=self._epsilon_number, steps=self.ascent_steps, bounds=bounds
            ),
            mode=self.mode,
            salience=Salience(
                method=self.salience,
                baseline=self.baseline,
                steps=self.salience_steps,
                share=self.salient_share,
            ),
            weight=self.weight,
            psd_weight=self.psd_weight,
            keep_weight=self.keep_weight,
        )
        return replace(
            super().build(schedule, bounds), penalty=penalty, every=self.every, share=self.share
        )


DEFENCES: Final[Mapping[str, type[DefenceTable]]] = {
    "standard": StandardTable,
    "n-fgsm": NFgsmTable,
    "pgd": PgdTable,
    "trades": TradesTable,
    "scorpio": ScorpioTable,
    "amo": AmoTable,
    "scor-pio-2": ScorPio2Table,
}


def defence_named(name: object) -> type[DefenceTable]:
    """Return the table of a defence.

    Raises:
        InvalidInput: There is none of that name.
    """
    if not isinstance(name, str) or name not in DEFENCES:
        raise InvalidInput(f"expected a defence of {', '.join(DEFENCES)}, got {name!r}")
    return DEFENCES[name]
