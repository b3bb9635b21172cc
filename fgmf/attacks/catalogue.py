"""The attacks that a gate can name, their parameters, and what each needs: plain data.

Nothing heavy is imported, so a gate file can be checked without torch or Foolbox. The bridge
(`foolbox_bridge`) turns an entry into a Foolbox attack.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.types import Norm


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A tunable number or switch of an attack."""

    default: bool | int | float
    lowest: float | None = None
    above: float | None = None
    meaning: str = ""

    def accepts(self, value: object) -> bool:
        """Whether `value` has the type of the default and lies in the range."""
        if isinstance(self.default, bool) or isinstance(value, bool):
            return isinstance(self.default, bool) and isinstance(value, bool)
        if not isinstance(value, int if isinstance(self.default, int) else (int, float)):
            return False
        low = self.lowest is None or value >= self.lowest
        return math.isfinite(value) and low and (self.above is None or value > self.above)

    @property
    def allowed(self) -> str:
        """Words for what is accepted, such as ``a whole number >= 1``."""
        if isinstance(self.default, bool):
            return "true or false"
        words = "a whole number" if isinstance(self.default, int) else "a number"
        if self.lowest is not None:
            words += f" >= {self.lowest:g}"
        return words if self.above is None else f"{words} > {self.above:g}"


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """An attack by name.

    Attributes:
        name: Name in gate files and reports.
        title: Name in headlines.
        foolbox_classes: Foolbox class for each norm that the attack is made for.
        needs_gradient: False for score- and decision-based attacks.
        minimum_norm: True if it looks for the smallest perturbation rather than the largest
            loss inside the ball.
        random: True if restarts can differ.
        needs_start: True if it walks from a given misclassified image.
        targeted: True if it can aim at a class.
        one_by_one: True if Foolbox's arithmetic mixes the images of a batch, so that a result
            would depend on its neighbours; such an attack sees one image at a time.
        constraint_argument: True if its constructor takes the norm.
        parameters: Its parameters with defaults.
        fixed: Constructor arguments that are not the user's to set, with the reason in the
            bridge.
    """

    name: str
    title: str
    foolbox_classes: Mapping[Norm, str]
    needs_gradient: bool = True
    minimum_norm: bool = False
    random: bool = True
    needs_start: bool = False
    targeted: bool = True
    one_by_one: bool = False
    constraint_argument: bool = False
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    fixed: Mapping[str, object] = field(default_factory=dict)


def _steps(default: int) -> Parameter:
    return Parameter(default=default, lowest=1, meaning="iterations")


def _relative_step(default: float) -> Parameter:
    return Parameter(default=default, above=0.0, meaning="step size as a share of epsilon")


def _by_norm(suffix: str) -> dict[Norm, str]:
    return {"linf": f"Linf{suffix}", "l2": f"L2{suffix}", "l1": f"L1{suffix}"}


_ENTRIES = (
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
        title="FMN",
        foolbox_classes={"linf": "LInfFMNAttack", "l2": "L2FMNAttack", "l1": "L1FMNAttack"},
        minimum_norm=True,
        random=False,
        parameters={"steps": _steps(100)},
    ),
    CatalogueEntry(
        name="ead",
        title="EAD",
        foolbox_classes={"l1": "EADAttack"},
        minimum_norm=True,
        random=False,
        parameters={"steps": _steps(200), "binary_search_steps": _steps(6)},
        fixed={"abort_early": False, "decision_rule": "L1"},
    ),
    CatalogueEntry(
        name="brendel-bethge",
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
        title="Boundary",
        foolbox_classes={"l2": "BoundaryAttack"},
        needs_gradient=False,
        minimum_norm=True,
        needs_start=True,
        parameters={"steps": _steps(2000)},
    ),
    CatalogueEntry(
        name="hop-skip-jump",
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

CATALOGUE: Mapping[str, CatalogueEntry] = MappingProxyType({e.name: e for e in _ENTRIES})
"""Every attack that a gate can name."""

TARGETED_ATTACKS: Mapping[Norm, tuple[str, ...]] = MappingProxyType(
    {"linf": ("pgd",), "l2": ("pgd",), "l1": ("pgd", "ead")}
)
"""What a gate with a targeted criterion runs when it names no attack."""

DEFAULT_ATTACKS: Mapping[Norm, tuple[str, ...]] = MappingProxyType(
    {
        "linf": ("fgsm", "pgd", "deepfool"),
        "l2": ("fgsm", "pgd", "deepfool"),
        "l1": ("fgsm", "pgd", "ead"),
    }
)
"""What a gate runs when it names no attack. FGSM and PGD climb the cross-entropy, which a model
with bounded or saturated logits flattens; DeepFool and EAD follow the margin, which it cannot.
EAD also makes up for steepest L1 descent, which is weak alone."""

DEFAULT_PARAMETERS: Mapping[str, Mapping[str, bool | int | float]] = MappingProxyType(
    {"deepfool": {"steps": 20, "candidates": 5}}
)
"""What the default attacks set otherwise than the catalogue: 80 passes instead of 450."""

GRADIENT_FREE_ATTACKS: Mapping[Norm, tuple[str, ...]] = MappingProxyType(
    {"linf": ("additive-noise", "hop-skip-jump"), "l2": ("additive-noise", "boundary"), "l1": ()}
)
"""What a gate runs on a model without gradients (an ONNX file) when it names no attack."""
