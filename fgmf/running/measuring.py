"""Measure one gate; whatever happens, a verdict comes out."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fgmf.errors import FgmfError, InvalidInput
from fgmf.gates.specification import stands_alone
from fgmf.preflight.policy import forbidding
from fgmf.reporting import report_document
from fgmf.verdict import Cost, Outcome, Verdict

if TYPE_CHECKING:
    from fgmf.classifier import Classifier
    from fgmf.datasets import Samples
    from fgmf.gates.specification import Gate, ImagelessGate, RunContext, StandaloneGate

_OWN_FRAMES = str(Path(__file__).parent)
Load = Callable[[], "tuple[Classifier, Samples | None]"]


def run_gate(gate: Gate, load: Load, context: RunContext) -> Verdict:
    """Measure one gate on what `load` returns.

    Args:
        gate: Any gate.
        load: Returns the classifier and the samples, None for a gate that needs no images; may
            raise. Not called for a gate that stands alone.
        context: Facts about the run.

    Returns:
        The gate's verdict as plain data. Outcome ERROR for whatever was raised, for a result
        that is no verdict or not JSON, and for a PASS on a value that is not a number.
    """
    started = time.monotonic()
    try:
        return _accepted(gate, _checked(gate, load, context))
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 - SystemExit and pytest.skip are no verdicts
        return error_verdict(
            gate_name(gate),
            getattr(gate, "kind", ""),
            reason_for(error),
            cost=Cost(seconds=time.monotonic() - started),
            reproduce=context.reproduce,
        )


def _checked(gate: Gate, load: Load, context: RunContext) -> object:
    if stands_alone(gate):
        return cast("StandaloneGate", gate).check(context=context)
    classifier, samples = load()
    if samples is None:
        return cast("ImagelessGate", gate).check(classifier, context=context)
    return gate.check(classifier, samples.images, samples.labels, context=context)


def error_verdict(
    name: str, kind: str, reason: str, *, cost: Cost | None = None, reproduce: str = ""
) -> Verdict:
    """Make the verdict of a gate that could not be measured."""
    return Verdict(
        gate=name,
        kind=kind,
        outcome=Outcome.ERROR,
        reason=reason,
        cost=cost or Cost(),
        reproduce=reproduce,
    )


def gate_name(gate: Gate) -> str:
    """Return the name of a gate; an unnamed one takes its kind."""
    return gate.name or str(getattr(gate, "kind", type(gate).__name__))


def limit_threads(count: int | None) -> None:
    """Let torch use at most `count` threads; None and more than it uses change nothing."""
    if count is not None:
        import torch

        torch.set_num_threads(max(1, min(count, torch.get_num_threads())))


def one_line(error: BaseException) -> str:
    """Say in one line what was raised; our own errors need no class name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = " ".join(lines) or "no message"
    return message if isinstance(error, FgmfError) else f"{type(error).__name__}: {message}"


def _accepted(gate: Gate, verdict: object) -> Verdict:
    if not isinstance(verdict, Verdict):
        message = f"expected a Verdict from the check of {gate_name(gate)}, got {verdict!r:.80}"
        raise InvalidInput(message)
    measured = verdict.measured
    if verdict.outcome is Outcome.PASS and measured is not None and not math.isfinite(measured):
        raise InvalidInput(f"expected a finite number behind a PASS, got {measured}")
    documents: Any = report_document([verdict], run={})["verdicts"]
    plain = Verdict.from_document(documents[0])
    tolerated = getattr(gate, "inconclusive", "fail") == "pass"
    accepted = (
        plain.outcome is Outcome.INCONCLUSIVE
        and tolerated
        and (plain.accepted or not forbidding(plain.findings))
    )
    return replace(plain, gate=gate_name(gate), accepted=accepted)


def reason_for(error: BaseException) -> str:
    """Say what was raised in one line that stands alone; below it, where.

    Args:
        error: What was raised; where it translates a user's error, that one is located. An
            error of our own says what is wrong and is not located.
    """
    origin = error.__cause__ or error
    if isinstance(origin, FgmfError):
        return one_line(error)
    frames = origin.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_OWN_FRAMES):
        frames = frames.tb_next
    located = "".join(traceback.format_exception(type(origin), origin, frames)).rstrip()
    return f"{one_line(error)}\n{located}"
