"""`fgmf selftest`: do attacks find what is known to be there?

Without a gate file the controls with known answers run, about the installation alone. With one
the self-test of each robustness gate's attacks runs on the gate's model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from fgmf.cli.checking import run_gates, selected_gates
from fgmf.cli.exits import ExitCode, WrongUse, say
from fgmf.cli.opening import open_gate_file
from fgmf.types import Norm

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fgmf.cli.checking import CheckRequest
    from fgmf.selftest import ControlResult

_COLUMNS = ("outcome", "norm", "eps", "control", "expected", "measured")


def run_selftest(request: CheckRequest) -> ExitCode:
    """Test the attacks of every robustness gate, or the installation.

    Args:
        request: The command line; without a path the installation is tested.

    Returns:
        Without a gate file PASSED or FAILED; with one the worst of all verdicts.

    Raises:
        WrongUse: A gate that there is not, a file without robustness gates, or options that
            need a gate file without one.
        InvalidGateFile: The gate file is missing or broken.
    """
    if request.path is None:
        _refuse_options(request)
        return _run_controls(request.seed or 0)
    from fgmf.gates import AttackSelftestGate, RobustnessGate

    gate_file = open_gate_file(request.path, profile=request.profile)
    gates = tuple(
        AttackSelftestGate.of(gate)
        for gate in selected_gates(gate_file, request.gates)
        if isinstance(gate, RobustnessGate)
    )
    if not gates:
        raise WrongUse(f"expected a gate of kind robustness in {request.path}, got none")
    return run_gates(gate_file, gates, request)


def _refuse_options(request: CheckRequest) -> None:
    """Say which options are about gates: the controls have no model of the user's to put anywhere.

    Raises:
        WrongUse: One of them was given.
    """
    given = {
        "--gate": request.gates,
        "--profile": request.profile,
        "--device": request.device,
        "--batch-size": request.batch_size,
        "--report": request.reports,
    }
    idle = [option for option, value in given.items() if value]
    if idle:
        message = f"expected {', '.join(idle)} with a gate file, got none"
        raise WrongUse(f"{message}: write fgmf selftest fgmf.toml, or leave it out")


def _run_controls(seed: int) -> ExitCode:
    from fgmf.gates import RobustnessGate
    from fgmf.gates.robustness_attacks import gate_plans
    from fgmf.selftest import run_controls

    attacks = {
        norm: gate_plans(
            RobustnessGate(norm=norm, epsilon=1.0, min_robust_accuracy=0.0),
            gradient_available=True,
        )
        for norm in get_args(Norm)
    }
    results = list(run_controls(attacks, seed=seed))
    say(_table(results))
    failed = sum(not result.passed for result in results)
    say(f"{len(results) - failed} of {len(results)} controls as expected, seed {seed}")
    return ExitCode.FAILED if failed or not results else ExitCode.PASSED


def _table(results: Iterable[ControlResult]) -> str:
    rows = [_COLUMNS, *(_row(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ("  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _row(result: ControlResult) -> tuple[str, ...]:
    outcome = "PASS" if result.passed else "FAIL"
    epsilon = f"{result.epsilon:.3g}"
    return outcome, result.norm, epsilon, result.name, result.expected, result.measured
