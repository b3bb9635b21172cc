"""Fixtures and settings of all tests: no network, bounded Hypothesis, one torch thread."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A developer's own settings, or those of a CI service, must not decide whether a test passes.
for _name in [name for name in os.environ if name.startswith("FGMF_") or name == "CI"]:
    del os.environ[_name]

# No deadline: a loaded machine must not fail a property. Derandomized: the same examples in
# every run, so that a red test is red for everybody; raise the count by hand to search further.
settings.register_profile(
    "fgmf",
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fgmf")


class NetworkUsed(RuntimeError):
    """A test tried to reach another machine."""


def _is_local(address: object) -> bool:
    if not isinstance(address, tuple):  # a Unix socket's path
        return True
    host = address[0]
    if host in {"", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this machine can be reached from a test."""

    def guarded(original: Any) -> Any:
        def connect(self: socket.socket, address: Any) -> Any:
            if not _is_local(address):
                raise NetworkUsed(f"expected no network in tests, got a connection to {address}")
            return original(self, address)

        return connect

    monkeypatch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """Results and times that do not depend on how many cores there are."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)
