"""`fgmf explain`: what a model's decisions rest on, as pictures and as one page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fgmf.attribution.catalogue import check_parameters, find_explainer
from fgmf.cli.exits import ExitCode, WrongUse, say
from fgmf.cli.opening import open_gate_file
from fgmf.errors import GradientUnavailable, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from fgmf.attribution.interface import Explainer
    from fgmf.classifier import Classifier
    from fgmf.datasets import Samples
    from fgmf.explaining.comparing import Comparison
    from fgmf.explaining.showing import ShownImages

COMPARED = ("pgca", "expected-gradients", "smooth-grad", "integrated-gradients", "random")
"""Beside the explainer that is asked for."""


@dataclass(frozen=True, kw_only=True)
class ExplainRequest:
    """The command line.

    Attributes:
        path: Gate file or directory; None is the working directory.
        model: Name of the model; None for the only one.
        explainer: Name of the explainer.
        parameters: ``name=value`` each, the value in JSON or plain text.
        images: How many, from the first on.
        target: ``predicted`` or ``label``, the class that is explained.
        output: Directory for what is written; None: ``.fgmf/explanations/NAME``.
        compare: Score other explainers, too.
        seed: Of the draws; None is the gate file's.
        device: Of the model; None leaves it to the file.
        batch_size: Likewise.
    """

    path: Path | None
    model: str | None
    explainer: str
    parameters: tuple[str, ...]
    images: int
    target: str
    output: Path | None
    compare: bool
    seed: int | None
    device: str | None
    batch_size: int | None


def run_explain(request: ExplainRequest) -> ExitCode:
    """Explain the first images of a gate file's data.

    Returns:
        PASSED: nothing is judged here.

    Raises:
        WrongUse: An explainer or parameter that there is not.
        InvalidGateFile: The gate file is missing or broken.
        FactoryFailed: The model or the data cannot be loaded.
        InvalidInput: Images that do not fit to the model.
    """
    try:
        values = check_parameters(find_explainer(request.explainer), _named(request.parameters))
    except InvalidInput as error:
        raise WrongUse(str(error)) from None
    gate_file = open_gate_file(request.path)
    from fgmf.attribution.building import explainer
    from fgmf.explaining.showing import explain_and_measure, write_explanations
    from fgmf.running import GateRun, RunSettings, importing_from

    settings = RunSettings(seed=request.seed, device=request.device, batch_size=request.batch_size)
    run = GateRun(gate_file, settings)
    with importing_from(gate_file.path.parent):
        classifier = run.classifier(request.model)
        with classifier.guard(seed=run.seed):
            shown = _shown(run.samples(), request, classifier.predict)
            how = explainer(request.explainer, values)
            explained = explain_and_measure(how, classifier, shown, seed=run.seed)
            comparison = _compared(how, classifier, shown, run.seed) if request.compare else None
    directory = request.output or gate_file.path.parent / ".fgmf" / "explanations" / how.name
    files = write_explanations(explained, classifier, shown, directory, comparison=comparison)
    cost, count = explained.attribution.cost, len(shown.images)
    say(
        f"{how.name} on {classifier.name}: {count} images, "
        f"{cost.forward_passes / count:.0f} forward and {cost.backward_passes / count:.0f} "
        f"backward passes each, seed {run.seed}"
    )
    layer = explained.attribution.parameters.get("layer")
    if layer is not None:
        say(f"layer: {layer}")
    for curve in explained.curves:
        say(f"replacement {curve.replacement}: {curve.summary}")
    if explained.without_curves:
        say(f"no curves: {explained.without_curves}")
    if comparison is not None:
        say(_table(comparison))
    say("\n".join(f"wrote {file}" for file in files))
    return ExitCode.PASSED


def _named(parameters: Sequence[str]) -> Mapping[str, object]:
    """Take ``name=value`` apart.

    Raises:
        WrongUse: One has no ``=``.
    """
    named: dict[str, object] = {}
    for entry in parameters:
        name, sign, text = entry.partition("=")
        if not sign or not name:
            raise WrongUse(f"expected a parameter as name=value, got {entry!r}")
        try:
            named[name] = json.loads(text)
        except json.JSONDecodeError:
            named[name] = text
    return named


def _shown(samples: Samples, request: ExplainRequest, predict: object) -> ShownImages:
    from fgmf.explaining.showing import ShownImages

    images = samples.images[: request.images]
    if not images.is_floating_point():
        images = images.float()
    labels = samples.labels[: request.images]
    labels = labels.argmax(dim=1) if labels.ndim == 2 else labels.long()
    targets = labels if request.target == "label" else predict(images)  # type: ignore[operator]
    return ShownImages(images=images, targets=targets, labels=labels)


def _compared(how: Explainer, classifier: Classifier, shown: ShownImages, seed: int) -> Comparison:
    """Compare with the usual explainers; one that this model is not made for is left out."""
    from fgmf.attribution.building import explainer
    from fgmf.explaining.comparing import compare_explainers

    others = {how.name: how}
    for name in COMPARED:
        if name in others:
            continue
        try:
            explainer(name).explain(classifier, shown.images[:1], shown.targets[:1], seed=seed)
        except (InvalidInput, GradientUnavailable) as error:
            say(f"{name} is not compared: {error}")
        else:
            others[name] = explainer(name)
    return compare_explainers(classifier, shown.images, shown.targets, others, seed=seed)


def _table(comparison: Comparison) -> str:
    from fgmf.explaining.criteria import CRITERIA

    width = max(len(name) for name in ("explainer", *comparison.totals))
    columns = {name: max(12, len(name)) for name in ("weighted", *CRITERIA)}
    heads = " ".join(f"{name:>{column}}" for name, column in columns.items())
    lines = [f"{'explainer':<{width}} {heads}"]
    weights = " ".join(f"{comparison.weights[c]:>{columns[c]}.3f}" for c in CRITERIA)
    lines.append(f"{'weight':<{width}} {'':>{columns['weighted']}} {weights}")
    for name, total in comparison.totals.items():
        values = " ".join(f"{comparison.scores[name][c]:>{columns[c]}.3f}" for c in CRITERIA)
        lines.append(f"{name:<{width}} {total:>{columns['weighted']}.3f} {values}")
    return "\n".join(lines)
