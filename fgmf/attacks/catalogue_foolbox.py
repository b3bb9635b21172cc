"""The attacks of Foolbox that a gate can name: plain data.

Nothing heavy is imported. The bridge (`foolbox_bridge`) turns an entry into a Foolbox attack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.attacks.entries import CatalogueEntry, Parameter

if TYPE_CHECKING:
    from fgmf.types import Norm


def _steps(default: int) -> Parameter:
    return Parameter(default=default, lowest=1, meaning="iterations")


def _relative_step(default: float) -> Parameter:
    return Parameter(default=default, above=0.0, meaning="step size as a share of epsilon")


def _by_norm(suffix: str) -> dict[Norm, str]:
    return {"linf": f"Linf{suffix}", "l2": f"L2{suffix}", "l1": f"L1{suffix}"}


FOOLBOX_ENTRIES = (
    CatalogueEntry(
        name="fgsm",
        title="FGSM",
        foolbox_classes=_by_norm("FastGradientAttack"),
        targeted=False,
        parameters={
            "random_start": Parameter(default=True, meaning="start at a random point of the ball")
        },
    ),
    CatalogueEntry(
        name="pgd",
        title="PGD",
        foolbox_classes=_by_norm("ProjectedGradientDescentAttack"),
        parameters={
            "steps": _steps(40),
            "rel_stepsize": _relative_step(0.1),
            "random_start": Parameter(default=True, meaning="start at a random point of the ball"),
        },
    ),
    CatalogueEntry(
        name="bim",
        title="BIM",
        foolbox_classes=_by_norm("BasicIterativeAttack"),
        random=False,
        parameters={"steps": _steps(40), "rel_stepsize": _relative_step(0.1)},
        fixed={"random_start": False},
    ),
    CatalogueEntry(
        name="adam-pgd",
        title="Adam-PGD",
        foolbox_classes={"linf": "LinfAdamProjectedGradientDescentAttack"},
        parameters={"steps": _steps(40), "rel_stepsize": _relative_step(0.1)},
    ),
    CatalogueEntry(
        name="mi-fgsm",
        title="MI-FGSM",
        foolbox_classes=_by_norm("MomentumIterativeFastGradientMethod"),
        random=False,
        parameters={
            "steps": _steps(20),
            "momentum": Parameter(default=1.0, lowest=0.0, meaning="decay of the velocity"),
        },
        fixed={"random_start": False},
    ),
    CatalogueEntry(
        name="deepfool",
        follows_margin=True,
        title="DeepFool",
        foolbox_classes={"linf": "LinfDeepFoolAttack", "l2": "L2DeepFoolAttack"},
        targeted=False,
        minimum_norm=True,
        random=False,
        parameters={
            "steps": _steps(50),
            "candidates": Parameter(default=10, lowest=2, meaning="classes tried per step"),
            "overshoot": Parameter(default=0.02, lowest=0.0, meaning="relative step past the edge"),
        },
    ),
    CatalogueEntry(
        name="carlini-wagner",
        follows_margin=True,
        title="C&W",
        foolbox_classes={"l2": "L2CarliniWagnerAttack"},
        minimum_norm=True,
        random=False,
        parameters={
            "steps": _steps(100),
            "binary_search_steps": _steps(5),
            "stepsize": Parameter(default=5e-2, above=0.0, meaning="Adam step in tanh space"),
            "initial_const": Parameter(default=1.0, above=0.0, meaning="first trade-off"),
            "confidence": Parameter(default=0.0, lowest=0.0, meaning="margin asked of an example"),
        },
        fixed={"abort_early": False},
    ),
    CatalogueEntry(
        name="ddn",
        title="DDN",
        foolbox_classes={"l2": "DDNAttack"},
        minimum_norm=True,
        parameters={"steps": _steps(100)},
    ),
    CatalogueEntry(
        name="fmn",
        follows_margin=True,
        title="FMN",
        foolbox_classes={"linf": "LInfFMNAttack", "l2": "L2FMNAttack", "l1": "L1FMNAttack"},
        minimum_norm=True,
        random=False,
        parameters={"steps": _steps(100)},
    ),
    CatalogueEntry(
        name="ead",
        follows_margin=True,
        title="EAD",
        foolbox_classes={"l1": "EADAttack"},
        minimum_norm=True,
        random=False,
        parameters={"steps": _steps(200), "binary_search_steps": _steps(6)},
        fixed={"abort_early": False, "decision_rule": "L1"},
    ),
    CatalogueEntry(
        name="brendel-bethge",
        follows_margin=True,
        title="Brendel-Bethge",
        foolbox_classes={
            "linf": "LinfinityBrendelBethgeAttack",
            "l2": "L2BrendelBethgeAttack",
            "l1": "L1BrendelBethgeAttack",
        },
        minimum_norm=True,
        needs_start=True,
        one_by_one=True,
        parameters={
            "steps": _steps(100),
            "lr": Parameter(default=1e-2, above=0.0, meaning="radius of the trust region"),
        },
    ),
    CatalogueEntry(
        name="boundary",
        follows_margin=True,
        title="Boundary",
        foolbox_classes={"l2": "BoundaryAttack"},
        needs_gradient=False,
        minimum_norm=True,
        needs_start=True,
        parameters={"steps": _steps(2000)},
    ),
    CatalogueEntry(
        name="hop-skip-jump",
        follows_margin=True,
        title="HopSkipJump",
        foolbox_classes={"linf": "HopSkipJumpAttack", "l2": "HopSkipJumpAttack"},
        needs_gradient=False,
        minimum_norm=True,
        needs_start=True,
        parameters={
            "steps": _steps(16),
            "initial_gradient_eval_steps": _steps(50),
            "max_gradient_eval_steps": _steps(200),
        },
        constraint_argument=True,
    ),
    CatalogueEntry(
        name="additive-noise",
        title="additive noise",
        foolbox_classes={
            "linf": "LinfRepeatedAdditiveUniformNoiseAttack",
            "l2": "L2ClippingAwareRepeatedAdditiveGaussianNoiseAttack",
        },
        needs_gradient=False,
        parameters={
            "repeats": Parameter(default=50, lowest=1, meaning="draws per image"),
        },
        fixed={"check_trivial": False},
    ),
)
