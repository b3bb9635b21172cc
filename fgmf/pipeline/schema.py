"""The JSON Schema of a recipe file, with which editors complete and check it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fgmf.pipeline.defences import DEFENCES
from fgmf.pipeline.loading import TABLES
from fgmf.pipeline.tables import RampTable, RecipeHeadTable

if TYPE_CHECKING:
    from pydantic import BaseModel

_REFERENCE = "#/$defs/{model}"


def recipe_file_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of a recipe file."""
    definitions: dict[str, Any] = {}
    head = RecipeHeadTable.model_json_schema(ref_template=_REFERENCE)
    defences = [_described(table, definitions) for table in DEFENCES.values()]
    ramps = {"type": "object", "additionalProperties": _described(RampTable, definitions)}
    tables = {name: _described(table, definitions) for name, table in TABLES.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "FGMF recipe file",
        "type": "object",
        "properties": {
            **head["properties"],
            "defence": {"oneOf": defences},
            "ramps": ramps,
            **tables,
        },
        "required": [*head["required"], "data", "model", "defence"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _described(table: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    """Move a table's schema to the definitions and return a reference to it."""
    schema = table.model_json_schema(ref_template=_REFERENCE)
    definitions.update(schema.pop("$defs", {}))
    definitions[table.__name__] = schema
    return {"$ref": _REFERENCE.format(model=table.__name__)}
