"""Profiles: the same gates, larger at night and smaller in a pull request."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PROFILE: Final = "default"
CI_PROFILE: Final = "ci"
KNOWN_PROFILES: Final = (DEFAULT_PROFILE, CI_PROFILE, "pr", "nightly", "release")
"""Profiles that need no table of their own in the gate file."""

FRESH_PROFILE: Final = "nightly"
"""Measures everything anew: no cache is used, whoever asks for it."""

_UNSET = frozenset({"", "0", "false", "no", "off"})


_RIVALS: Final = (("suite", "attacks"),)
"""Keys that exclude each other: a profile that sets one replaces the other, too."""


def without_rivals(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return a gate's values without those that a profile's overrides exclude."""
    rivals = {
        rival
        for pair in _RIVALS
        for key, rival in (pair, pair[::-1])
        if key in overrides and rival not in overrides
    }
    return {key: value for key, value in values.items() if key not in rivals}


def active_profile(given: str | None) -> str:
    """Return the profile of this run.

    Args:
        given: What the user asked for, or None.

    Returns:
        `given`; else `ci` where the environment variable CI is set; else `default`.
    """
    if given:
        return given
    return CI_PROFILE if in_ci() else DEFAULT_PROFILE


def in_ci() -> bool:
    """Say whether the environment variable CI is set, to something that does not deny it."""
    return os.environ.get("CI", "").strip().lower() not in _UNSET
