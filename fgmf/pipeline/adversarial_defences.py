"""Tables of the defences that train on clean or attacked images, and of SCORPIO in its forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from fgmf.pipeline.defence_tables import BudgetTable, DefenceTable
from fgmf.pipeline.tables import BelowOne, Count, NotNegative, Positive, Share

if TYPE_CHECKING:
    from fgmf.scorpio import Scorpio
    from fgmf.training import AmoRecipe, Recipe, Schedule, Teacher
    from fgmf.types import Bounds


class StandardTable(DefenceTable):
    """Cross-entropy on clean images."""

    recipe = "StandardRecipe"
    name: Literal["standard"]


class NFgsmTable(BudgetTable):
    """One step from noise, no projection."""

    recipe = "NFgsmRecipe"
    name: Literal["n-fgsm"]
    noise: NotNegative = 1.0
    step: Positive = 1.0


class FgsmRsTable(BudgetTable):
    """One step from noise, projected."""

    recipe = "FgsmRsRecipe"
    name: Literal["fgsm-rs"]
    step: Positive = 1.25


class PgdTable(BudgetTable):
    """Several steps, projected."""

    recipe = "PgdRecipe"
    name: Literal["pgd"]
    steps: Count = 7
    step: Positive | None = None


class TradesTable(BudgetTable):
    """Clean loss and divergence."""

    recipe = "TradesRecipe"
    name: Literal["trades"]
    beta: Positive = 6.0
    steps: Count = 7
    step: Positive | None = None


class ScorpioTable(BudgetTable):
    """The quadratic penalty of SCORPIO, as published."""

    name: Literal["scorpio"]
    steps: Annotated[int, Field(ge=0)] = 1
    mode: Literal["finite-difference", "double-backward"] = "finite-difference"
    weight: Positive = 1.0

    def build(
        self,
        schedule: Schedule,
        bounds: Bounds,
        teacher: Teacher | None = None,  # noqa: ARG002 - learns from none
    ) -> Recipe:
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

    def build(
        self,
        schedule: Schedule,
        bounds: Bounds,
        teacher: Teacher | None = None,  # noqa: ARG002 - learns from none
    ) -> AmoRecipe:
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
    """SCOR-PIO 2.0: stored perturbations, and answers that rest on salient pixels.

    The curvature along the path of integrated gradients, and the penalty along salient, exploitable
    directions, are there where one of their weights is set.
    """

    name: Literal["scor-pio-2"]  # type: ignore[assignment]
    overshoot: Positive = 1.0
    noise: NotNegative = 1.0
    step: Positive = 1.0
    label_smoothing: BelowOne = 0.0
    answer_weight: NotNegative = 1.0
    answer_kept: Annotated[float, Field(gt=0, lt=1)] = 0.5
    path_weight: NotNegative = 0.0
    path_noise: Positive = 0.5
    path_baseline: Literal["zero", "noise", "blur"] = "zero"
    weight: NotNegative = 0.0
    psd_weight: NotNegative = 0.0
    keep_weight: NotNegative = 0.0
    salience: Literal["gradient", "gradient-times-input", "integrated-gradients"] = "gradient"
    baseline: Literal["zero", "noise", "blur"] = "noise"
    salience_steps: Count = 2
    salient_share: Share = 0.7
    ascent_steps: Annotated[int, Field(ge=0)] = 0
    mode: Literal["finite-difference", "double-backward"] = "finite-difference"
    every: Count = 2
    """Updates between two terms."""
    share: Share = 0.25
    """Of the batch that the terms look at."""

    def build(
        self,
        schedule: Schedule,
        bounds: Bounds,
        teacher: Teacher | None = None,  # noqa: ARG002 - learns from none
    ) -> AmoRecipe:
        """Return the recipe."""
        from dataclasses import replace

        from fgmf.scorpio import PathCurvature, SalientAnswer

        answer = SalientAnswer(weight=self.answer_weight, kept=self.answer_kept)
        path = PathCurvature(
            weight=self.path_weight, noise=self.path_noise, baseline=self.path_baseline
        )
        return replace(
            super().build(schedule, bounds),
            answer=answer if self.answer_weight > 0 else None,
            path=path if self.path_weight > 0 else None,
            penalty=self._penalty(bounds),
            every=self.every,
            share=self.share,
        )

    def _penalty(self, bounds: Bounds) -> Scorpio | None:
        from fgmf.scorpio import QuadraticAscent, Salience, Scorpio

        if not (self.weight or self.psd_weight or self.keep_weight):
            return None
        return Scorpio(
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
