"""`fgmf preflight`: what every gate would find before it measures, for each model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.cli.exits import ExitCode, WrongUse, say
from fgmf.cli.opening import open_gate_file
from fgmf.errors import InvalidInput
from fgmf.gates.specification import needs_images
from fgmf.reporting import render_findings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fgmf.classifier import Classifier
    from fgmf.gates.specification import GateSpecification
    from fgmf.running import GateRun
    from fgmf.verdict import Finding


def run_preflight(
    path: Path | None,
    *,
    profile: str | None = None,
    device: str | None = None,
    batch_size: int | None = None,
) -> ExitCode:
    """Inspect every model that a gate is about.

    Args:
        path: Gate file or directory; None is the working directory.
        profile: Profile whose gates are looked at.
        device: Device of every model; None leaves it to the file.
        batch_size: Likewise.

    Returns:
        FAILED if a finding would keep a gate from being measured or from a PASS, else PASSED.

    Raises:
        InvalidGateFile: The gate file is missing or broken.
        WrongUse: No gate is about a model.
        FactoryFailed: A model or the data cannot be loaded.
    """
    from fgmf.preflight import blocking, forbidding
    from fgmf.running import GateRun, RunSettings

    gate_file = open_gate_file(path, profile=profile)
    run = GateRun(gate_file, RunSettings(device=device, batch_size=batch_size))
    about_models = [gate for gate in gate_file.gates if needs_images(gate)]
    if not about_models:
        raise WrongUse(
            f"expected a gate that is about a model and images in {gate_file.path}, got none"
        )
    no_pass = False
    for name in dict.fromkeys(gate.model for gate in about_models):
        gates = [gate for gate in about_models if gate.model == name]
        findings = _findings(run, gates)
        no_pass |= bool(blocking(findings) or forbidding(findings))
        title = f"model {name or run.classifier(name).name}"
        say(f"{title} ({', '.join(gate.name for gate in gates)}): {_summary(findings)}")
        for line in render_findings(findings).splitlines():
            say(f"  {line}")
    return ExitCode.FAILED if no_pass else ExitCode.PASSED


def _findings(run: GateRun, gates: Sequence[GateSpecification]) -> list[Finding]:
    """Return what the gates on one model find, each finding once."""
    from fgmf.preflight import inspect
    from fgmf.running import importing_from
    from fgmf.seeding import derive_seed

    found: dict[tuple[str, str, bool], Finding] = {}
    with importing_from(run.gate_file.path.parent):
        for gate in gates:
            classifier = run.classifier(gate.model)
            threat_of = getattr(gate, "threat_model", None)
            findings = inspect(
                classifier,
                run.samples(),
                threat=None if threat_of is None else threat_of(classifier.bounds),
                kind=str(getattr(gate, "kind", "")),
                waive=gate.waive,
                seed=derive_seed(run.seed, gate.name) if gate.seed is None else gate.seed,
                needs_gradient=_needs_gradient(gate, classifier),
            )
            for finding in findings:
                found.setdefault((finding.name, finding.message, finding.waived), finding)
    return list(found.values())


def _needs_gradient(gate: GateSpecification, classifier: Classifier) -> bool:
    """Say whether any attack of the gate uses gradients."""
    from fgmf.gates.robustness import RobustnessGate
    from fgmf.gates.robustness_attacks import gate_plans

    if not isinstance(gate, RobustnessGate):
        return classifier.gradient_available
    try:
        plans = gate_plans(gate, gradient_available=classifier.gradient_available)
    except InvalidInput:  # the gate says so itself, when it is run
        return True
    return any(plan.entry.needs_gradient for plan in plans)


def _summary(findings: Sequence[Finding]) -> str:
    if not findings:
        return "no findings"
    counts = {
        severity: sum(f.severity == severity and not f.waived for f in findings)
        for severity in ("error", "warning", "note")
    }
    parts = [f"{count} {name}{'s' * (count > 1)}" for name, count in counts.items() if count]
    waived = sum(finding.waived for finding in findings)
    return ", ".join([*parts, f"{waived} waived"] if waived else parts)
