"""The first line of a verdict. Annotations, JUnit and summaries show only it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.reporting.evidence import integer_of, records_of, text_of
from fgmf.reporting.text import (
    first_line,
    printable,
    shown_interval,
    shown_number,
    shown_threshold,
)
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from fgmf.verdict import Condition, Verdict

_RELATIONS = {
    Outcome.PASS: {"at-least": ">=", "at-most": "<="},
    Outcome.FAIL: {"at-least": "<", "at-most": ">"},
    Outcome.INCONCLUSIVE: dict.fromkeys(("at-least", "at-most"), "does not decide"),
    Outcome.ERROR: dict.fromkeys(("at-least", "at-most"), "not measured against"),
}


_MANY_QUANTITIES = frozenset({"explanation-stability", "faithfulness"})
"""Kinds whose main quantity is not always the same, so that it is always named."""


def render_headline(verdict: Verdict) -> str:
    """Say in one line what was measured, how sure it is, and what was required.

    Args:
        verdict: Of any gate kind.

    Returns:
        One printable line that stands alone, never wrapped, such as ``robustness: 0.412
        [0.368, 0.457] < 0.50 required (worst of FGSM, PGD; Linf eps 8/255; n=500; 95 %;
        seed 7)``. It names the condition that decided where that is not the main one.
    """
    kind = printable(verdict.kind)
    if verdict.outcome is Outcome.ERROR:
        return f"{kind}: not measured: {first_line(verdict.reason) or 'no reason given'}"
    decisive = decisive_condition(verdict)
    parts = [*_other_conditions(verdict, decisive), *_context(verdict)]
    if decisive is None:
        claim = first_line(verdict.reason) or str(verdict.outcome)
    else:
        named = decisive is not verdict.conditions[0] or verdict.kind in _MANY_QUANTITIES
        claim = describe_condition(decisive, named=named)
    accepted = ", accepted" if verdict.passed and verdict.outcome is not Outcome.PASS else ""
    context = f" ({'; '.join(parts)})" if parts else ""
    return f"{kind}: {claim}{accepted}{context}"


def decisive_condition(verdict: Verdict) -> Condition | None:
    """Return the first condition with the verdict's outcome; None if none has it."""
    return next((c for c in verdict.conditions if c.outcome is verdict.outcome), None)


def describe_condition(condition: Condition, *, named: bool = True) -> str:
    """Say how one measured quantity stands to its threshold.

    Args:
        condition: The condition.
        named: Begin with the name of the quantity.
    """
    name = f"{quantity_name(condition)} " if named else ""
    relation = _RELATIONS[condition.outcome][condition.direction]
    demand = "required" if condition.direction == "at-least" else "allowed"
    required = f"{relation} {shown_threshold(condition.threshold)} {demand}"
    return f"{name}{shown_measurement(condition)} {required}"


def shown_measurement(condition: Condition) -> str:
    """Write the point estimate and its interval, such as ``0.412 [0.368, 0.457]``.

    Without a point estimate (some images are undecided) it is ``in [0.301, 0.702]``.
    """
    if condition.measured is None:
        interval = condition.interval
        return f"in {shown_interval(interval, condition.threshold)}" if interval else "no value"
    number = shown_number(condition.measured, condition.threshold)
    if condition.interval is None:
        return number
    return f"{number} {shown_interval(condition.interval, condition.threshold)}"


def quantity_name(condition: Condition) -> str:
    """Write the name of a quantity, such as ``worst class robust accuracy (class 3)``."""
    name = printable(condition.quantity).replace("_", " ")
    return f"{name} ({printable(condition.subject)})" if condition.subject else name


def _other_conditions(verdict: Verdict, decisive: Condition | None) -> list[str]:
    """What else a reader of one line must know: the main number, and what else was missed."""
    if decisive is None:
        return []
    main = verdict.conditions[0]
    parts = []
    if decisive.measured is None:
        parts.append(first_line(verdict.reason))
    if decisive is not main:
        parts.append(describe_condition(main))
    parts += [
        f"also missed: {quantity_name(condition)}"
        for condition in verdict.conditions
        if condition.outcome is Outcome.FAIL and condition is not decisive
    ]
    return parts


def _context(verdict: Verdict) -> list[str]:
    parts = [_attacks(verdict), text_of(verdict.evidence, "threat"), _criterion(verdict)]
    parts += [_image_count(verdict), _confidence(verdict)]
    if verdict.seed is not None:
        parts.append(f"seed {verdict.seed}")
    return [part for part in parts if part]


def _attacks(verdict: Verdict) -> str:
    attacks = records_of(verdict.evidence, "attacks")
    titles = [text_of(attack, "title") or text_of(attack, "name") for attack in attacks]
    distinct = list(dict.fromkeys(title for title in titles if title))
    return f"worst of {', '.join(distinct)}" if len(distinct) > 1 else "".join(distinct)


def _criterion(verdict: Verdict) -> str:
    criterion = text_of(verdict.evidence, "criterion")
    return "" if criterion == "misclassification" else criterion


def _image_count(verdict: Verdict) -> str:
    if not verdict.image_count:
        return ""
    planned = integer_of(verdict.evidence, "planned_images")
    if planned is not None:
        return f"n={verdict.image_count} of {planned} planned"
    size = integer_of(verdict.evidence, "dataset_size")
    whole = text_of(verdict.evidence, "population") == "dataset" and size is not None
    return f"n={verdict.image_count} of {size}" if whole else f"n={verdict.image_count}"


def _confidence(verdict: Verdict) -> str:
    decisive = decisive_condition(verdict)
    interval = decisive.interval if decisive is not None else verdict.interval
    if interval is None or interval.lower == interval.upper:
        return ""
    return f"{interval.confidence * 100:.6g} %"
