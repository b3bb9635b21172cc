"""`fgmf init --ci`: files for CI services, copied as they are."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final, Literal

from fgmf.canonical import write_atomically
from fgmf.cli.exits import WrongUse, say

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ServiceName = Literal["github", "gitlab", "pre-commit"]


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service.

    Attributes:
        template: Name of the file in `fgmf/cli/templates`.
        places: Where it goes, from the root; the first that is free.
        advice: What is left to do where the first place was taken.
    """

    template: str
    places: tuple[str, ...]
    advice: str = ""


SERVICES: Final[Mapping[ServiceName, Service]] = {
    "github": Service(template="github.yml", places=(".github/workflows/fgmf.yml",)),
    "gitlab": Service(
        template="gitlab.yml",
        places=(".gitlab-ci.yml", ".gitlab/fgmf.yml"),
        advice="next: add `include: [{local: .gitlab/fgmf.yml}]` to .gitlab-ci.yml",
    ),
    "pre-commit": Service(
        template="pre-commit.yaml",
        places=(".pre-commit-config.yaml", ".pre-commit-fgmf.yaml"),
        advice="next: move the hooks of .pre-commit-fgmf.yaml into .pre-commit-config.yaml",
    ),
}


def template_of(service: ServiceName) -> str:
    """Return the file of a service."""
    return files("fgmf.cli").joinpath("templates", SERVICES[service].template).read_text("utf-8")


def write_service(service: ServiceName, root: Path, *, force: bool) -> Path:
    """Copy the file of a service.

    Args:
        service: Which one.
        root: Of the repository.
        force: Replace the file in its first place.

    Returns:
        The file that was written.

    Raises:
        WrongUse: All places are taken.
        OSError: It cannot be written.
    """
    entry = SERVICES[service]
    places = [root / place for place in entry.places]
    free = places[:1] if force else [p for p in places if not (p.exists() or p.is_symlink())]
    if not free:
        taken = " and ".join(entry.places)
        raise WrongUse(f"{taken}: there already; --force replaces {entry.places[0]}")
    write_atomically(free[0], template_of(service).encode())
    say(f"wrote {free[0]}")
    if free[0] != places[0]:
        say(entry.advice)
    return free[0]
