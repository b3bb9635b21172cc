"""From a name and parameters to an explainer."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from fgmf.attribution.catalogue import check_parameters, find_explainer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.attribution.interface import Explainer


def explainer(name: str, parameters: Mapping[str, object] | None = None) -> Explainer:
    """Return an explainer by name.

    Args:
        name: One of `catalogue.explainer_names`.
        parameters: Those that differ from the defaults in the catalogue.

    Raises:
        InvalidInput: No explainer has that name, or not such a parameter.
    """
    entry = find_explainer(name)
    values = check_parameters(entry, parameters or {})
    module, _, class_name = entry.class_path.partition(":")
    made: Explainer = getattr(import_module(module), class_name)(**values)
    return made
