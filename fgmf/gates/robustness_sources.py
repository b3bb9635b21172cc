"""What the attacks of a gate need besides its model: surrogates and stored examples.

All of it is prepared before anything is measured, from all images of the gate; what cannot be had
is an error of the gate, never an attack that quietly finds nothing.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgmf.attacks.catalogue_outside import KNOWN, TRAINED, TRANSFER
from fgmf.attacks.projection import inside
from fgmf.attacks.sources import AttackSources, KnownExamples, stores_of, surrogates_of
from fgmf.canonical import json_digest, tensor_digest
from fgmf.errors import InvalidInput
from fgmf.failures import load_failures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.attacks.plans import AttackPlan
    from fgmf.classifier import Classifier
    from fgmf.gates.specification import RunContext
    from fgmf.gates.subject import MeasuredImages
    from fgmf.threat import ThreatModel
    from fgmf.types import Images, Json


def prepare_sources(
    plans: tuple[AttackPlan, ...],
    classifier: Classifier,
    subject: MeasuredImages,
    *,
    threat: ThreatModel,
    seed: int,
    context: RunContext,
) -> AttackSources:
    """Train or fetch surrogates and load stored examples.

    Args:
        plans: The gate's attacks.
        classifier: The gated model; put back as it was afterwards.
        subject: All images that the gate may measure.
        threat: Ball and box.
        seed: The gate's.
        context: Says where other models and the gate file are.

    Returns:
        What the attacks name; nothing for attacks that name nothing.

    Raises:
        InvalidInput: A surrogate or a store that is not there, or is of no use for these images.
        StaleEvidence: A store was changed since it was saved.

    Cost: none, unless attacks name something: a clean pass of one image for each surrogate that is
        another model; for one to be trained see `fgmf.attacks.surrogates`.
    Randomness: the seed.
    """
    sources = AttackSources(
        known={
            path: load_known(path, subject, directory=context.directory, threat=threat)
            for path in stores_of(plans)
        }
    )
    for name in surrogates_of(plans):
        if name == TRAINED:
            from fgmf.attacks.surrogates import train_surrogate

            made = train_surrogate(classifier, subject.images, seed=seed)
            surrogate = made.classifier
            sources = replace(sources, trained=made.cost)
        else:
            surrogate = _other_model(name, context)
            _refuse_unlike(name, surrogate, classifier, subject)
        sources = replace(
            sources,
            surrogates={**sources.surrogates, name: surrogate},
            surrogate_digests={**sources.surrogate_digests, name: surrogate.state_digest()},
        )
    return sources


def load_known(
    path: str, subject: MeasuredImages, *, directory: Path, threat: ThreatModel
) -> KnownExamples:
    """Load the stored examples of a gate's images.

    Args:
        path: Relative to the directory, and inside it, links followed.
        subject: The gate's images.
        directory: The gate file's.
        threat: Examples outside its ball or box are left out.

    Returns:
        The examples by the key of their image; of several of one image the first inside.

    Raises:
        InvalidInput: The path leads elsewhere, or to no saved evidence.
        StaleEvidence: The evidence was changed since it was saved.
    """
    base = directory.resolve()
    place = (base / path).resolve()
    if Path(path).is_absolute() or not place.is_relative_to(base):
        message = f"expected known examples at a path inside {base}, the gate file's directory"
        raise InvalidInput(f"{message}, got {path!r}; copy them there")
    try:
        saved = load_failures(place)
    except OSError as error:
        message = f"expected known examples that can be read at {place}, got {error.strerror}"
        raise InvalidInput(message) from error
    positions = {key: at for at, key in enumerate(subject.keys)}
    offered: dict[str, Images] = {}
    matched = 0
    for key, adversarial in zip(saved.keys, saved.adversarial, strict=True):
        if key not in positions:
            continue
        matched += 1
        clean = subject.images[positions[key]][None]
        if key not in offered and bool(inside(clean, adversarial[None].to(clean), threat)[0]):
            offered[key] = adversarial
    rows: list[Json] = [
        [key, tensor_digest(image)]
        for key, image in zip(saved.keys, saved.adversarial, strict=True)
    ]
    return KnownExamples(
        digest=json_digest(rows), images=offered, stored=len(saved.keys), matched=matched
    )


def add_sources(evidence: Mapping[str, Json], sources: AttackSources) -> dict[str, Json]:
    """Return a gate's evidence with that of its sources; the same where there are none.

    What a surrogate learned follows from model, images and seed, so its weights are no part of the
    configuration; other models and stored examples are.
    """
    if not sources.digests:
        return dict(evidence)
    surrogates: dict[str, Json] = {
        name: {"digest": digest} for name, digest in sources.surrogate_digests.items()
    }
    if TRAINED in surrogates:
        surrogates[TRAINED] = {
            "digest": sources.surrogate_digests[TRAINED],
            "training_forward_passes": sources.trained.forward_passes,
            "training_backward_passes": sources.trained.backward_passes,
        }
    stores: dict[str, Json] = {
        path: {
            "digest": known.digest,
            "stored": known.stored,
            "of_these_images": known.matched,
            "offered": len(known.images),
        }
        for path, known in sources.known.items()
    }
    given = {k: d for k, d in sources.digests.items() if k != f"{TRANSFER} {TRAINED}"}
    configuration: Any = evidence["configuration"]
    if given:
        configuration = {**configuration, "sources": given}
    return {
        **evidence,
        "configuration": configuration,
        "sources": {TRANSFER: surrogates, KNOWN: stores},
    }


def _other_model(name: str, context: RunContext) -> Classifier:
    if context.surrogates is None:
        message = f"expected RunContext.surrogates to know the surrogate {name!r}, got none"
        raise InvalidInput(f"{message}; pass a function from its name to a Classifier")
    return context.surrogates(name)


def _refuse_unlike(
    name: str, surrogate: Classifier, classifier: Classifier, subject: MeasuredImages
) -> None:
    """Refuse a surrogate that cannot be attacked on the gate's images."""
    if not surrogate.gradient_available:
        raise InvalidInput(f"expected a surrogate with gradients, got {surrogate.name} ({name!r})")
    if surrogate.bounds != classifier.bounds:
        message = f"expected the surrogate {name!r} with the model's bounds {classifier.bounds}"
        raise InvalidInput(f"{message}, got {surrogate.bounds}")
    first = subject.images[:1]
    with classifier.guard():
        classes = classifier.logits_in_batches(first).shape[1]
    try:
        with surrogate.guard():
            own = surrogate.logits_in_batches(first).shape[1]
    except Exception as error:
        message = f"expected the surrogate {name!r} to take images of shape {tuple(first.shape)}"
        raise InvalidInput(f"{message}, got {type(error).__name__}: {error}") from error
    if own != classes:
        raise InvalidInput(f"expected the surrogate {name!r} to tell {classes} classes, got {own}")
