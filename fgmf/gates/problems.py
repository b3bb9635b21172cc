"""What is wrong with a gate file, in words: pydantic's errors become one problem per field.

Pydantic reports each branch of a union by itself, at a location that names the branch, and
words an error after its own classes. A reader of a gate file wants one line per key: where,
what is allowed, what came.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from fgmf.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_LONGEST_KEY = 80

# The last part of a location where pydantic names a branch of a union instead of a key.
_UNION_BRANCH = re.compile(
    r"float|int|str|bool|none|constrained-(float|int|str)|(literal|tuple|list|dict|function-\w+)\[.*\]"
)

# Wording by the type of pydantic's error; `{...}` is filled from its context.
_WORDING: Mapping[str, str] = {
    "missing": "a value, the key is required",
    "greater_than_equal": "{number} >= {ge}",
    "greater_than": "{number} > {gt}",
    "less_than_equal": "{number} <= {le}",
    "less_than": "{number} < {lt}",
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "text",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} characters",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "too_short": "at least {min_length} entries",
    "too_long": "at most {max_length} entries",
    "dict_type": "a table",
    "mapping_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "literal_error": "{expected}",
}


def problems_of(
    error: ValidationError,
    *,
    prefix: Sequence[str | int] = (),
    model: type[BaseModel] | None = None,
) -> list[Problem]:
    """Translate pydantic's errors into :class:`Problem` values, one per field.

    Args:
        error: What pydantic raised.
        prefix: Path of the validated value inside its file.
        model: The class that was validated; with it, an unknown key is answered with the keys
            that there are.

    Returns:
        One problem per invalid field, in the order of the fields.
    """
    entries = error.errors(include_url=False, include_context=True)
    problems = []
    for place, group in groupby(entries, key=_place):
        branches = list(group)
        wordings = dict.fromkeys(_expected(entry, model) for entry in branches)
        problem = Problem(
            location=_location((*prefix, *place)),
            got=_got(branches[0]),
            expected=" or ".join(wordings),
        )
        problems.append(problem)
    return problems


class Misfit(NamedTuple):
    """A field that a validator of the whole model rejects: its key, what is allowed, what came."""

    key: str
    allowed: str
    came: object = None
    unknown_key: bool = False


def misfits(title: str, fields: Sequence[Misfit]) -> ValidationError:
    """Make an error that a validator of a whole model can raise for some of its fields.

    Args:
        title: Name of the model.
        fields: The rejected fields.

    Returns:
        An error that pydantic merges into its own, each problem at its key.
    """
    lines = []
    for key, allowed, came, unknown_key in fields:
        name = "unknown_key" if unknown_key else "misfit"
        details = PydanticCustomError(name, "{allowed}", {"allowed": allowed})
        lines.append(InitErrorDetails(type=details, loc=(key,), input=came))
    return ValidationError.from_exception_data(title, lines)


def one_of_the_keys(keys: Sequence[str], wrong: str) -> str:
    """Words for the allowed `keys`, the one that `wrong` probably meant first."""
    near = get_close_matches(wrong, keys, n=1)
    if near:
        return f"the key {near[0]}, or another of {', '.join(keys)}"
    return f"one of the keys {', '.join(keys)}"


def _place(entry: Any) -> tuple[str | int, ...]:  # noqa: ANN401 - pydantic's ErrorDetails
    """Location without the names of union branches."""
    parts = tuple(entry["loc"])
    return tuple(p for p in parts if isinstance(p, int) or not _UNION_BRANCH.fullmatch(p))


def _location(parts: Sequence[str | int]) -> str:
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{_shown_key(part)}"
    return text.removeprefix(".") or "(the whole entry)"


def _shown_key(key: str) -> str:
    """A key that a file can have as it likes: short, and without what a terminal would act on."""
    text = key if len(key) <= _LONGEST_KEY else f"{key[:_LONGEST_KEY]}..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _got(entry: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    if entry["type"] == "missing":
        return "nothing"
    if entry["type"] in {"extra_forbidden", "unknown_key"}:
        return "an unknown key"
    text = repr(entry["input"])
    return text if len(text) <= 80 else text[:77] + "..."


def _expected(entry: Any, model: type[BaseModel] | None) -> str:  # noqa: ANN401 - as above
    if entry["type"] == "extra_forbidden":
        return _known_keys(entry["loc"], model)
    wording = _WORDING.get(entry["type"])
    if wording is not None:
        context = entry.get("ctx", {})
        whole = any(isinstance(context.get(key), int) for key in ("ge", "gt", "le", "lt"))
        shown = {k: f"{v:g}" if isinstance(v, float) else v for k, v in context.items()}
        return wording.format(number="a whole number" if whole else "a number", **shown)
    message: str = entry["msg"].removeprefix("Input should be ")
    if message.startswith("Value error, expected "):
        # Errors of our own say what came, which the problem says as well.
        return message.removeprefix("Value error, expected ").rpartition(", got ")[0]
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _known_keys(location: Sequence[str | int], model: type[BaseModel] | None) -> str:
    for part in location[:-1]:
        model = _model_below(model, part)
    if model is None:
        return "no such key"
    keys = sorted(field.alias or name for name, field in model.model_fields.items())
    return one_of_the_keys(keys, str(location[-1]))


def _model_below(model: type[BaseModel] | None, part: str | int) -> type[BaseModel] | None:
    """Return the model of the field `part`, or `model` itself where `part` is an index."""
    if model is None or part not in model.model_fields:
        return model
    return next(_models_in(model.model_fields[str(part)].annotation), None)


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
