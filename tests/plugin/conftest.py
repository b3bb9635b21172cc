"""A project with stub gates, so that the plugin's plumbing is tested without torch."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
import scipy.stats  # noqa: F401 - a run inside this process must not be the first to import it
import torch  # noqa: F401 - likewise

import fgmf.classifier
import fgmf.datasets
import fgmf.gatefile.editor
import fgmf.gatefile.loading
import fgmf.gates.robustness_check
from fgmf.running import GateRun

if TYPE_CHECKING:
    from pathlib import Path

STUB = """
from __future__ import annotations

from types import SimpleNamespace
from typing import Literal

import fgmf.gates
from fgmf.gates import GateSpecification
from fgmf.running import GateRun
from fgmf.seeding import derive_seed
from fgmf.verdict import Condition, Cost, Interval, Outcome, Verdict

MEASURED = {"pass": 0.9, "fail": 0.1, "inconclusive": 0.5, "error": None}


class StubGate(GateSpecification):
    '''Measures nothing: ends as it is told.'''

    kind: Literal["stub-gate"] = "stub-gate"
    outcome: Literal["pass", "fail", "inconclusive", "error"] = "pass"
    epsilon: float | str = 0.1
    images: int = 10
    raises: str = ""
    ends: str = ""

    def evidence(self):
        '''One letter per image, as `fgmf.gates.identity` has them.'''
        if not self.ends:
            return {}
        count = len(self.ends)
        return {
            "images": {
                "indices": list(range(count)),
                "keys": [f"{n:016x}" for n in range(count)],
                "labels": [0] * count,
                "outcomes": self.ends,
            },
            "configuration": {"kind": self.kind, "epsilon": self.epsilon},
        }

    def check(self, classifier, images, labels, *, context=None):
        if self.raises:
            raise RuntimeError(self.raises)
        measured, interval, conditions = MEASURED[self.outcome], None, ()
        if self.ends and not set("uf") & set(self.ends):
            measured = self.ends.count("r") / len(self.ends)
        if measured is not None:
            interval = Interval(
                lower=max(0.0, measured - 0.05),
                upper=min(1.0, measured + 0.05),
                confidence=0.95,
                method="stub",
            )
            conditions = (
                Condition(
                    quantity="stub",
                    measured=measured,
                    interval=interval,
                    threshold=0.5,
                    outcome=Outcome(self.outcome),
                ),
            )
        return Verdict(
            gate=self.name,
            kind=self.kind,
            outcome=Outcome(self.outcome),
            reason="as it was told",
            measured=measured,
            interval=interval,
            threshold=0.5,
            image_count=self.images,
            seed=derive_seed(context.run_seed, self.name),
            cost=Cost(forward_passes=3, seconds=0.25),
            conditions=conditions,
            evidence=self.evidence(),
            reproduce=context.reproduce,
        )


fgmf.gates._OWN_KINDS["stub-gate"] = StubGate
GateRun.classifier = lambda self, name=None: SimpleNamespace(name=name)
GateRun.samples = lambda self: SimpleNamespace(images=None, labels=None)
"""

HEAD = """
schema = 1
[model]
factory = "shop:model"
bounds = [0, 1]
[data]
factory = "shop:data"
"""


@dataclass(kw_only=True)
class Project:
    """A repository in pytester's directory, with stub gates."""

    pytester: pytest.Pytester

    @property
    def path(self) -> Path:
        return self.pytester.path

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def gates(self, *tables: str, head: str = HEAD, name: str = "fgmf.toml") -> Path:
        """Write a gate file; each table is the body of a ``[[gate]]`` of kind stub-gate."""
        body = "\n".join(f'[[gate]]\nkind = "stub-gate"\n{textwrap.dedent(t)}' for t in tables)
        return self.write(name, f"{head}\n{body}")

    def run(self, *arguments: str, mode: str = "") -> pytest.RunResult:
        """Run pytest in this process; under xdist the workers are other processes."""
        modes = mode.split()
        if "-p" not in arguments or "cacheprovider" not in arguments:
            modes += ["-p", "no:cacheprovider"]
        return self.pytester.runpytest_inprocess(*modes, *arguments, no_reraise_ctrlc=True)

    def report(self, name: str = "report.json") -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.path / name).read_text(encoding="utf-8"))
        return document

    def outcomes(self, name: str = "report.json") -> dict[str, str]:
        """Outcome of each gate in a JSON report."""
        return {entry["gate"]: entry["outcome"] for entry in self.report(name)["verdicts"]}

    def junit(self, name: str = "junit.xml") -> dict[str, ET.Element]:
        """Test cases of a JUnit file by name."""
        tree = ET.parse(self.path / name)  # noqa: S314 - written by our own run
        return {case.attrib["name"]: case for case in tree.iter("testcase")}


@pytest.fixture
def bare_project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project without stub gates; whatever its runs change in shared modules is undone."""
    for name in ("CI", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fgmf.gates, "_OWN_KINDS", dict(fgmf.gates._OWN_KINDS))
    for name in ("classifier", "samples"):
        monkeypatch.setattr(GateRun, name, getattr(GateRun, name))
    return Project(pytester=pytester)


@pytest.fixture
def project(bare_project: Project) -> Project:
    """A project whose gates are stubs, with one test of its own."""
    bare_project.write("conftest.py", STUB)
    bare_project.write("tests/test_own.py", "def test_own(): pass\n")
    return bare_project


@pytest.fixture(params=["", "-n0", "-n2"], ids=["plain", "n0", "n2"])
def mode(request: pytest.FixtureRequest) -> str:
    """How the run is spread over processes."""
    value: str = request.param
    return value


@pytest.fixture(params=["", "-n0"], ids=["plain", "n0"])
def local(request: pytest.FixtureRequest) -> str:
    """As `mode`, for what is decided in one process also under xdist."""
    value: str = request.param
    return value


def section(result: pytest.RunResult, title: str = "gates") -> list[str]:
    """Lines of one section of the terminal report."""
    lines = result.stdout.lines
    starts = [n for n, line in enumerate(lines) if line.strip("= ") == title]
    if not starts:
        return []
    body = lines[starts[-1] + 1 :]
    ends = [n for n, line in enumerate(body) if line.startswith("===")]
    return body[: ends[0]] if ends else body
