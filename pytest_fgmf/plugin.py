"""The plugin's door: what every pytest run loads, whether it has gates or not.

It declares options, markers and fixtures, and looks for the first sign of a gate: a gate file, an
option, a test that uses the fixture `fgmf`. Only then `hooks` and all that it needs is loaded.
What stands here and what it imports costs every pytest run on the machine
(`benchmarks/plugin_load.py`): `typing` and siblings are imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_fgmf.options import add_options

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_fgmf.fixtures import GateFixture


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare options and ini values."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    for line in (
        "fgmf: gates of a gate file, and tests that use the fixture fgmf",
        "robustness: gates on robust accuracy",
        "gradient_masking: gates on gradient masking",
        "faithfulness: gates on the faithfulness of explanations",
        "mask_log: gates on logs of saliency masks",
    ):
        config.addinivalue_line("markers", line)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Find the gates, and refuse a broken gate file before anything runs."""
    from pytest_fgmf.signs import any_sign

    if any_sign(session.config):
        from pytest_fgmf.hooks import begin

        begin(session.config)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect gate files, and the evidence that is to be replayed."""
    if file_path.suffix not in {".toml", ".json"}:
        return None
    from pytest_fgmf.signs import may_be_gate_file

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
