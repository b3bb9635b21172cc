"""Options and ini values, one stem for each. Loaded in every pytest run: no imports."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

OPTIONS = (
    (
        "gatefile",
        "PATH",
        "store",
        "gate file to use instead of fgmf.toml or pyproject.toml in the root directory",
    ),
    (
        "profile",
        "NAME",
        "store",
        "profile of the gate file (default: ci where the variable CI is set)",
    ),
    ("seed", "N", "store", "seed of the run, instead of the gate file's"),
    ("device", "NAME", "store", "device of every model: auto, cpu, cuda, mps"),
    ("batch-size", "N", "store", "batch size of every model"),
    ("report", "json:PATH", "append", "write all verdicts to a file; can be given several times"),
    (
        "replay",
        "DIR",
        "store",
        "run nothing but saved evidence again, such as .fgmf/failures/robust-linf",
    ),
    (
        "require",
        "NAME",
        "append",
        "fail the run unless the gate of that name ran; can be given several times",
    ),
)
"""Stem, metavariable, argparse's action, meaning.

The option is ``--fgmf-STEM``, the ini value and argparse's attribute ``fgmf_STEM``. Plain tuples:
they are made in every pytest run, and a class for them takes longer than all the rest.
"""


def flag_of(stem: str) -> str:
    """Name of an option on the command line."""
    return f"--fgmf-{stem}"


def ini_of(stem: str) -> str:
    """Name in the configuration file, and of the attribute that argparse sets."""
    return f"fgmf_{stem.replace('-', '_')}"


def add_options(parser: pytest.Parser) -> None:
    """Declare every option and its ini value."""
    group = parser.getgroup("fgmf", "gates on models (FGMF)")
    for stem, metavar, action, meaning in OPTIONS:
        flag, ini = flag_of(stem), ini_of(stem)
        group.addoption(flag, dest=ini, metavar=metavar, action=action, default=None, help=meaning)
        if action == "append":
            parser.addini(ini, f"{meaning} (as {flag})", type="linelist", default=())
        else:
            parser.addini(ini, f"{meaning} (as {flag})", type="string", default=None)


def any_given(config: pytest.Config) -> bool:
    """Say whether the command line or the configuration file sets any of them."""
    names = [ini_of(option[0]) for option in OPTIONS]
    return any(config.getoption(name) or config.getini(name) for name in names)
