"""SCORPIO and SCOR-PIO 2.0: penalties on how far a quadratic model of the loss can rise.

    loss_of = ImageLoss(model=model, labels=labels)
    scorpio = Scorpio(ascent=QuadraticAscent(epsilon=0.1, bounds=(0, 1)), psd_weight=1.0)
    found = scorpio_penalty(loss_of, images, scorpio, draws=draws)
    (found.losses.mean() + found.penalty).backward()

`salience` finds the pixels that matter, `ascent` the displacement, `regularizer` the penalty,
`path_curvature` how much the answers bend where integrated gradients look, `salient_answer` how
much they rest on the pixels that the gradient names;
`schedules` let weights and budgets grow, `amortised` keeps perturbations between epochs, and
`optimizer` steps by a clamped estimate of the curvature in the parameters, alone or, in
`wrapped_optimizer`, in front of any other optimizer; `curvature_optimizer` is what both share.
"""

from __future__ import annotations

from fgmf.scorpio.amortised import (
    Amortised,
    KeptPerturbations,
    MovedImages,
    PerturbationStore,
    amortised_step,
)
from fgmf.scorpio.ascent import BallNorm, QuadraticAscent, climb_quadratic
from fgmf.scorpio.curvature_optimizer import CurvatureOptimizer
from fgmf.scorpio.hutchinson import CurvatureMode, Hutchinson
from fgmf.scorpio.optimizer import CurvatureAware
from fgmf.scorpio.path_curvature import PathCurvature, path_curvature
from fgmf.scorpio.regularizer import Scorpio, ScorpioPenalty, scorpio_penalty
from fgmf.scorpio.salience import (
    Baseline,
    Salience,
    SalienceMethod,
    baseline_of,
    salience_scores,
    salient_region,
)
from fgmf.scorpio.salient_answer import SalientAnswer, salient_answer
from fgmf.scorpio.schedules import Ramp
from fgmf.scorpio.wrapped_optimizer import CurvatureWrapped

__all__ = [
    "Amortised",
    "BallNorm",
    "Baseline",
    "CurvatureAware",
    "CurvatureMode",
    "CurvatureOptimizer",
    "CurvatureWrapped",
    "Hutchinson",
    "KeptPerturbations",
    "MovedImages",
    "PathCurvature",
    "PerturbationStore",
    "QuadraticAscent",
    "Ramp",
    "Salience",
    "SalienceMethod",
    "SalientAnswer",
    "Scorpio",
    "ScorpioPenalty",
    "amortised_step",
    "baseline_of",
    "climb_quadratic",
    "path_curvature",
    "salience_scores",
    "salient_answer",
    "salient_region",
    "scorpio_penalty",
]
