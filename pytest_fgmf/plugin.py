"""The plugin's door: what every pytest run loads, whether it has gates or not.

It declares options, markers and fixtures, and looks for the first sign of a gate: a gate file, an
option, a test that uses the fixture `fgmf`. Only then `hooks` and all that it needs is loaded.
What stands here and what it imports costs every pytest run on the machine
(`benchmarks/plugin_load.py`), each module most of all: siblings are imported inside functions.
PYTEST_DONT_REWRITE: nothing is asserted here, so pytest need not look for assertions.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fgmf.types import Json
    from fgmf.verdict import Verdict
    from pytest_fgmf.fixtures import GateFixture


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
    (
        "report",
        "FORM:PATH",
        "append",
        "write all verdicts as json, markdown or html; can be given several times",
    ),
    (
        "cache",
        "",
        "true",
        "keep outcomes per image in .fgmf/cache and attack what is new (off by default)",
    ),
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
    (
        "compare",
        "[DIR]",
        "",
        "compare every gate with its baseline (default: .fgmf/baselines)",
    ),
    (
        "compare-fail",
        "LIMIT",
        "append",
        "fail gates that lose more: robust_accuracy:2pp; can be given several times",
    ),
    (
        "update-baseline",
        "[force]",
        "update",
        "write baselines after the run; where the variable CI is set, only with force",
    ),
    (
        "history",
        "[FILE]",
        "",
        "append what gates measured to a history (default: .fgmf/baselines/history.jsonl)",
    ),
)
"""Stem, metavariable, argparse's action, meaning.

Where the metavariable stands in brackets the option can do without a value, and where there is none
it takes none; in the place of the action is then what it says without one.

The option is ``--fgmf-STEM``, the ini value and argparse's attribute ``fgmf_STEM``. Plain tuples:
they are made in every pytest run, and a class for them takes longer than all the rest.
"""


def flag_of(stem: str) -> str:
    """Name of an option on the command line."""
    return f"--fgmf-{stem}"


def ini_of(stem: str) -> str:
    """Name in the configuration file, and of the attribute that argparse sets."""
    return f"fgmf_{stem.replace('-', '_')}"


LIST_FLAG = "--fgmf-list"
LISTING = "gates"
"""What ``--fgmf-list`` makes of pytest's own ``collectonly``, so that nothing runs, nowhere."""


class Specifications:
    """Hooks of this plugin, for conftest files and plugins that track gates."""

    def pytest_fgmf_result(self, config: pytest.Config, verdict: Verdict, nodeid: str) -> None:
        """Called for each verdict where reports are gathered: once, also under xdist."""

    def pytest_fgmf_report(self, config: pytest.Config, document: dict[str, Json]) -> None:
        """Called at the end of a run that had gates, with what the JSON report holds."""


def add_options(parser: pytest.Parser) -> None:
    """Declare every option and its ini value."""
    group = parser.getgroup("fgmf", "gates on models (FGMF)")
    for stem, metavar, action, meaning in OPTIONS:
        flag, ini = flag_of(stem), ini_of(stem)
        if not metavar:
            group.addoption(flag, dest=ini, action="store_const", const=action, help=meaning)
        elif metavar[0] == "[":
            shown = metavar[1:-1]
            group.addoption(flag, dest=ini, metavar=shown, nargs="?", const=action, help=meaning)
        else:
            group.addoption(
                flag, dest=ini, metavar=metavar, action=action, default=None, help=meaning
            )
        if action == "append":
            parser.addini(ini, f"{meaning} (as {flag})", type="linelist", default=())
        else:
            parser.addini(ini, f"{meaning} (as {flag})", type="string", default=None)
    group.addoption(
        LIST_FLAG,
        dest="collectonly",
        action="store_const",
        const=LISTING,
        help="show the gates and what they ask, and run nothing",
    )


def any_given(config: pytest.Config) -> bool:
    """Say whether the command line or the configuration file sets any of them."""
    names = [ini_of(option[0]) for option in OPTIONS]
    return any(config.getoption(name) is not None or config.getini(name) for name in names)


OWN_FILE = "fgmf.toml"
SHARED_FILE = "pyproject.toml"


def any_sign(config: pytest.Config) -> bool:
    """Say whether a session that starts may have to do with gates.

    What is no sign here can still come up later: a gate file in some folder, a test that uses
    the fixture. Only xdist's controller must be ready from the start, since all that it learns
    of its workers' gates are their reports.
    """
    return (
        any_given(config)
        or any(argument.partition("::")[0].endswith(".toml") for argument in config.args)
        or any(may_hold_gates(directory) for directory in root_directories(config))
        or config.pluginmanager.has_plugin("dsession")
        or config.option.collectonly == LISTING
    )


def root_directories(config: pytest.Config) -> list[Path]:
    """Directories whose gate file is that of the run, pytest's root first.

    A configuration file below the repository's root, ``-c`` or a start from above move pytest's
    root away from the gate file; so every directory counts from the root and the arguments up to
    where pytest was started, as long as it is the same repository.
    """
    start, root = config.invocation_params.dir, config.rootpath
    directories = [root]
    if config.inipath is None:
        above = list(_upwards(root))
        if (above[-1] / ".git").exists():
            directories += above[1:]
    for place in (root, *(start / argument.partition("::")[0] for argument in config.args)):
        if place == start or start in place.parents:
            inside = [
                above for above in _upwards(place) if above == start or start in above.parents
            ]
            directories += [above for above in inside if above not in directories]
    return directories


def _upwards(directory: Path) -> Iterator[Path]:
    """A directory and those above it, up to the root of its repository or of the disk."""
    for above in (directory, *directory.parents):
        yield above
        if (above / ".git").exists():
            return


def may_hold_gates(directory: Path) -> bool:
    """Say whether a directory has a file that could be a gate file."""
    own = os.path.lexists(directory / OWN_FILE)
    return own or mentions_gates(directory / SHARED_FILE)


def may_be_gate_file(path: Path) -> bool:
    """Say whether a file could be a gate file, by its name and a glance."""
    return path.name == OWN_FILE or (path.name == SHARED_FILE and mentions_gates(path))


def mentions_gates(path: Path) -> bool:
    """Say whether our name stands anywhere in a file; parsing it would be dear."""
    try:
        return b"fgmf" in path.read_bytes()
    except OSError:
        return False


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare options, ini values and hooks."""
    pluginmanager.add_hookspecs(Specifications)
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    for line in (
        "fgmf: gates of a gate file, and tests that use the fixture fgmf",
        "robustness: gates on robust accuracy",
        "attack_selftest: gates on whether attacks work",
        "corruption: gates on accuracy under common corruptions",
        "gradient_masking: gates on gradient masking",
        "faithfulness: gates on the faithfulness of explanations",
        "explanation_stability: gates on whether explanations stay the same",
        "mask_log: gates on logs of saliency masks",
        "export_parity: gates on exported files beside their source",
        "provenance: gates on where exported files come from",
        "team_mask_log: gates on mask logs of teams of agents",
        "team_faithfulness: gates on the explanations of teams of agents",
        "team_robustness: gates on what teams of agents withstand",
        "policy_return: gates on the return of policies under attack",
    ):
        config.addinivalue_line("markers", line)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Find the gates, and refuse a broken gate file before anything runs."""
    if any_sign(session.config):
        from pytest_fgmf.hooks import begin

        begin(session.config)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect gate files, and the evidence that is to be replayed."""
    if file_path.suffix not in {".toml", ".json"}:
        return None
    if not parent.config.pluginmanager.has_plugin("fgmf-gates") and not may_be_gate_file(file_path):
        return None
    from pytest_fgmf.hooks import begin, collect_file

    return collect_file(begin(parent.config), file_path, parent)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark tests that use the fixture."""
    if "fgmf" in getattr(item, "fixturenames", ()):
        from pytest_fgmf.hooks import begin

        item.add_marker("fgmf")
        begin(item.config)


@pytest.fixture(scope="session")
def fgmf_model() -> object:
    """Model under test: override it to return an ``fgmf.Classifier``.

    Without an override it is the `[model]` of the gate file, loaded when a gate needs it.
    """
    return None


@pytest.fixture(scope="session")
def fgmf_data() -> object:
    """Labelled images: override it to return anything that ``fgmf.datasets`` can collect.

    Without an override it is the `[data]` of the gate file, loaded when a gate needs it.
    """
    return None


@pytest.fixture
def fgmf(request: pytest.FixtureRequest, fgmf_model: object, fgmf_data: object) -> GateFixture:
    """Gates on the session's model and data, such as ``fgmf.assert_robust(...)``."""
    from pytest_fgmf.fixtures import GateFixture
    from pytest_fgmf.hooks import begin

    return GateFixture(
        item=request.node, session=begin(request.config), model=fgmf_model, data=fgmf_data
    )
