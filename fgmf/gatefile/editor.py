"""The JSON Schema of a gate file, with which editors complete and check it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fgmf.gatefile.expansion import EXPANDED_KEYS
from fgmf.gatefile.tables import DataTable, HeadTable, ModelTable, ProfileTable
from fgmf.gates import gate_kinds
from fgmf.gates.specification import needs_images

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel

    from fgmf.gates.specification import GateSpecification

_REFERENCE = "#/$defs/{model}"


def gate_file_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of `fgmf.toml`; all gate kinds that are installed."""
    definitions: dict[str, Any] = {}
    model = _described(ModelTable, definitions)
    head = HeadTable.model_json_schema(ref_template=_REFERENCE)
    gates = [_gate(name, kind, definitions) for name, kind in sorted(gate_kinds().items())]
    properties = {
        **head["properties"],
        "model": {"anyOf": [model, {"type": "array", "items": model, "minItems": 1}]},
        "data": _described(DataTable, definitions),
        "profiles": {
            "type": "object",
            "additionalProperties": _described(ProfileTable, definitions),
        },
        "gate": {"type": "array", "minItems": 1, "items": {"oneOf": gates}},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "FGMF gate file",
        "type": "object",
        "properties": properties,
        "required": ["schema", "gate"],
        "allOf": [
            {"if": _only(_kinds(lambda kind: kind.stands_alone)), "else": {"required": ["model"]}},
            {
                "if": _only(_kinds(lambda kind: not needs_images(kind))),
                "else": {"required": ["data"]},
            },
        ],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _kinds(asked: Callable[[type[GateSpecification]], bool]) -> list[str]:
    """Kinds of gates of which something holds."""
    return sorted(name for name, kind in gate_kinds().items() if asked(kind))


def _only(kinds: list[str]) -> dict[str, Any]:
    """Files all of whose gates are of these kinds."""
    return {"properties": {"gate": {"items": {"properties": {"kind": {"enum": kinds}}}}}}


def _described(table: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    """Move a table's schema to the definitions and return a reference to it."""
    schema = table.model_json_schema(ref_template=_REFERENCE)
    definitions.update(schema.pop("$defs", {}))
    definitions[table.__name__] = schema
    return {"$ref": _REFERENCE.format(model=table.__name__)}


def _gate(name: str, kind: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    reference = _described(kind, definitions)
    schema = definitions[kind.__name__]
    schema["properties"]["kind"] = {"const": name}
    schema["required"] = sorted({*schema.get("required", []), "kind"})
    for key in EXPANDED_KEYS:
        if key in schema["properties"]:
            one = schema["properties"][key]
            several = {"type": "array", "items": one, "minItems": 1}
            schema["properties"][key] = {"anyOf": [one, several]}
    return reference
