"""Profiles: the same gates, larger at night and smaller in a pull request."""

from __future__ import annotations

import os
from typing import Final

DEFAULT_PROFILE: Final = "default"
CI_PROFILE: Final = "ci"
KNOWN_PROFILES: Final = (DEFAULT_PROFILE, CI_PROFILE, "pr", "nightly", "release")
"""Profiles that need no table of their own in the gate file."""

_UNSET = frozenset({"", "0", "false", "no", "off"})


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
