"""JSON Schema of the report, for those who read it with programs."""

from __future__ import annotations

from typing import Any, Final

from fgmf.verdict import Outcome

REPORT_SCHEMA: Final = "fgmf-report/1"
"""Version of the report; a breaking change takes the next number."""

_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "number"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_OUTCOME: Final = {"enum": [str(outcome) for outcome in Outcome]}
_DIRECTION: Final = {"enum": ["at-least", "at-most"]}
_OPEN: Final = {"type": "object"}


def report_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of what `report_document` makes.

    Evidence and `run` are open: every gate kind has its own. Where evidence has `images` and
    `configuration`, they have this form whatever the kind.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "FGMF report",
        **_object(
            schema={"const": REPORT_SCHEMA},
            run=_OPEN,
            verdicts=_list({"$ref": "#/$defs/verdict"}),
        ),
        "$defs": {
            "verdict": _verdict(),
            "evidence": _evidence(),
            "condition": _condition(),
            "finding": _finding(),
            "interval": _object(lower=_NUMBER, upper=_NUMBER, confidence=_NUMBER, method=_TEXT),
            "cost": _object(
                forward_passes=_COUNT,
                backward_passes=_COUNT,
                seconds=_NUMBER,
                cached_images=_COUNT,
            ),
        },
    }


def _verdict() -> dict[str, Any]:
    return _object(
        gate=_TEXT,
        kind=_TEXT,
        outcome=_OUTCOME,
        reason=_TEXT,
        measured=_or_null(_NUMBER),
        interval=_or_null({"$ref": "#/$defs/interval"}),
        threshold=_or_null(_NUMBER),
        image_count=_COUNT,
        seed=_or_null(_COUNT),
        cost={"$ref": "#/$defs/cost"},
        conditions=_list({"$ref": "#/$defs/condition"}),
        findings=_list({"$ref": "#/$defs/finding"}),
        evidence={"$ref": "#/$defs/evidence"},
        artifacts=_list(_TEXT),
        reproduce=_TEXT,
        accepted={"type": "boolean"},
        direction=_DIRECTION,
    )


def _evidence() -> dict[str, Any]:
    from fgmf.gates.identity import KEY_DIGITS, OUTCOMES

    images = _object(
        indices=_list(_COUNT),
        keys=_list({"type": "string", "pattern": f"^[0-9a-f]{{{KEY_DIGITS}}}$"}),
        labels=_list({"type": "integer"}),
        outcomes={"type": "string", "pattern": f"^[{OUTCOMES}]*$"},
    )
    return {**_OPEN, "properties": {"images": images, "configuration": _OPEN}}


def _condition() -> dict[str, Any]:
    return _object(
        quantity=_TEXT,
        measured=_or_null(_NUMBER),
        interval=_or_null({"$ref": "#/$defs/interval"}),
        threshold=_NUMBER,
        outcome=_OUTCOME,
        subject=_TEXT,
        direction=_DIRECTION,
    )


def _finding() -> dict[str, Any]:
    return _object(
        name=_TEXT,
        severity={"enum": ["error", "warning", "note"]},
        message=_TEXT,
        fix=_TEXT,
        evidence=_OPEN,
        waived={"type": "boolean"},
    )


def _object(**properties: Any) -> dict[str, Any]:
    """Describe a closed object whose properties are all required."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}
