"""From a plan to an attack: Foolbox's, our own, one from outside, or another package's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.attacks.catalogue_outside import KNOWN
from fgmf.attacks.extensions import AttackExtension, extension
from fgmf.attacks.sources import AttackSources
from fgmf.errors import AttackFailed, InvalidInput

if TYPE_CHECKING:
    from fgmf.attacks.interface import Attack
    from fgmf.attacks.plans import AttackPlan
    from fgmf.classifier import Classifier
    from fgmf.threat import ThreatModel


def build_attack(
    plan: AttackPlan,
    classifier: Classifier,
    threat: ThreatModel,
    *,
    seed: int,
    deadline: float | None = None,
    sources: AttackSources | None = None,
) -> Attack:
    """Bind an attack to a classifier, a threat model and a seed.

    Args:
        plan: Which attack, with which parameters.
        classifier: Must be inside its guard while attacked.
        threat: Ball and box.
        seed: The gate's seed; with labels, restarts and image keys it fixes all draws.
        deadline: Value of ``time.monotonic()`` after which the attack stops.
        sources: What attacks need besides the model; None: nothing is there.

    Returns:
        The attack.

    Raises:
        MissingDependency: The attack needs a package that is not installed.
        InvalidInput: The attack of another package is gone, or is none; or a source of the attack
            is missing.
        AttackFailed: Another package could not build its attack.
    """
    if plan.entry.engine == "own":
        from fgmf.attacks.own_bridge import OwnAttack

        return OwnAttack(plan, classifier, threat, seed=seed, deadline=deadline)
    if plan.entry.engine == "foolbox":
        from fgmf.attacks.foolbox_bridge import FoolboxAttack

        return FoolboxAttack(plan, classifier, threat, seed=seed, deadline=deadline)
    if plan.entry.engine == "outside":
        return _from_outside(plan, threat, sources or AttackSources(), seed=seed, deadline=deadline)
    offered = extension(plan.name)
    if not isinstance(offered, AttackExtension):
        raise InvalidInput(f"expected an installed attack {plan.name!r}, got {offered!r}")
    from fgmf.attacks.foreign import ForeignAttack

    try:
        built = offered.build(plan, classifier, threat, seed=seed, deadline=deadline)
    except Exception as error:
        message = f"expected the package of {plan.name!r} to build its attack, got "
        raise AttackFailed(f"{message}{type(error).__name__}: {error}") from error
    return ForeignAttack(built, title=plan.entry.title, threat=threat)


def _from_outside(
    plan: AttackPlan,
    threat: ThreatModel,
    sources: AttackSources,
    *,
    seed: int,
    deadline: float | None,
) -> Attack:
    from fgmf.attacks.outside_bridge import KnownExamplesAttack, TransferAttack

    if plan.name == KNOWN:
        return KnownExamplesAttack(sources.examples(str(plan.parameters["path"])))
    surrogate = sources.surrogate(str(plan.parameters["surrogate"]))
    return TransferAttack(plan, surrogate, threat, seed=seed, deadline=deadline)
