"""The same verdicts and exit codes however pytest is started; and what stops it halfway."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.plugin.test_outcomes import FOUR

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plugin.conftest import Project

OK, FAILED, USAGE = pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.USAGE_ERROR

WAYS = {
    "plain": "",
    "n0": "-n0",
    "n2": "-n2",
    "no cacheprovider": "-p no:cacheprovider",
    "strict markers": "--strict-markers",
    "strict config": "--strict-config",
    "no terminal": "-p no:terminal",
    "no capture": "-s",
    "no logging": "-p no:logging",
    "no junit": "-p no:junitxml",
    "warnings are errors": "-W error",
    "prepend": "--import-mode=prepend",
    "quiet": "-qq --no-header --no-summary",
    "failed first": "--ff",
}

STRICT = ("plain", "n0", "n2", "no cacheprovider", "strict markers", "strict config", "no terminal")
"""Ways that every other circumstance is crossed with."""


def run(project: Project, way: str, *arguments: str) -> pytest.RunResult:
    """With the cache provider, unless the way takes it out."""
    return project.pytester.runpytest_inprocess(*WAYS[way].split(), *arguments)


@pytest.mark.parametrize("way", WAYS)
def test_what_passes_and_what_does_not(project: Project, way: str) -> None:
    project.gates('name = "good"\nrequired = true')
    assert run(project, way, "--fgmf-report=json:good.json").ret == OK
    assert project.outcomes("good.json") == {"good": "pass"}
    project.gates(*FOUR)
    assert run(project, way, "--fgmf-report=json:report.json").ret == FAILED
    assert project.outcomes() == {
        "bad": "fail",
        "broken": "error",
        "good": "pass",
        "vague": "inconclusive",
    }


@pytest.mark.parametrize("way", ["no cacheprovider", "strict config", "no capture", "quiet"])
def test_a_broken_file(project: Project, way: str) -> None:
    project.gates('name = "bad"\nepsilonn = 1')
    assert run(project, way).ret == USAGE


@pytest.mark.parametrize("way", STRICT)
def test_stopped_at_the_first_failure(project: Project, way: str) -> None:
    project.gates('name = "a"\noutcome = "fail"', 'name = "b"\nrequired = true')
    project.write("tests/test_own.py", "import time\ndef test_own(): time.sleep(0.1)\n")
    result = run(project, way, "--maxfail=1", "--fgmf-report=json:report.json")
    assert result.ret in {FAILED, pytest.ExitCode.INTERRUPTED}
    assert project.outcomes()["a"] == "fail"


@pytest.mark.parametrize("way", [way for way in STRICT if way != "no cacheprovider"])
def test_the_last_failed_gates_run_again(project: Project, way: str) -> None:
    project.gates('name = "a"\noutcome = "fail"', 'name = "b"\noutcome = "error"', 'name = "c"')
    assert run(project, way).ret == FAILED
    assert run(project, way, "--lf", "--fgmf-report=json:report.json").ret == FAILED
    assert project.outcomes() == {"a": "fail", "b": "error"}
    project.gates('name = "a"', 'name = "b"', 'name = "c"')
    assert run(project, way, "--lf", "--fgmf-report=json:report.json").ret == OK
    assert project.outcomes() == {"a": "pass", "b": "pass"}


@pytest.mark.parametrize("way", STRICT)
@pytest.mark.parametrize("only", ["--collect-only", "--co --quiet", "--fgmf-list"])
def test_only_collecting_measures_nothing(project: Project, way: str, only: str) -> None:
    if way == "no terminal":  # which takes out --quiet
        only = only.removesuffix(" --quiet")
    project.gates('name = "a"\noutcome = "fail"\nrequired = true')
    result = run(project, way, *only.split(), "--fgmf-report=json:report.json")
    assert result.ret == OK
    assert not (project.path / "report.json").exists()


@pytest.mark.parametrize("only", ["--setup-only", "--setup-plan"])
def test_a_run_that_sets_up_and_measures_nothing_owes_its_gates(
    project: Project, only: str
) -> None:
    project.gates('name = "a"\nrequired = true')
    assert project.run(only).ret == FAILED


SLOW = """

import pathlib, time

def linger(*_):
    pathlib.Path("started").touch()
    time.sleep(60)

GateRun.classifier = linger
"""


@pytest.mark.parametrize("spread", ["-n0", "-n2", "-p no:terminal", "--strict-markers"])
def test_an_interrupt_from_the_keyboard(project: Project, spread: str) -> None:
    """SIGINT to the process that the user started; what was owed is told as an error."""
    project.gates('name = "slow"\nrequired = true')
    conftest = project.path / "conftest.py"
    conftest.write_text(conftest.read_text() + SLOW)
    command = [sys.executable, "-m", "pytest", *spread.split(), "-p", "no:cacheprovider"]
    # Shells start background jobs with SIGINT ignored, and children inherit that.
    process = subprocess.Popen(
        [*command, "--fgmf-report=json:report.json"],
        cwd=project.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    try:
        deadline = time.monotonic() + 120
        while not (project.path / "started").exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "INTERNALERROR" not in output
    assert project.outcomes() == {"slow": "error"}


def as_nobody_special() -> None:
    """Take from root what lets it write where permissions forbid it."""
    if os.geteuid() == 0:
        drop, dac_override, dac_read_search = 24, 1, 2  # prctl(PR_CAPBSET_DROP, CAP_...)
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (dac_override, dac_read_search):
            if libc.prctl(drop, capability, 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), "prctl")


@pytest.fixture
def read_only(project: Project) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run pytest in the project after its directory was made read-only."""

    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        folders = [project.path, *(p for p in project.path.rglob("*") if p.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        try:
            check = "import pathlib; pathlib.Path('x').touch()"
            options: dict[str, object] = {"cwd": project.path, "preexec_fn": as_nobody_special}
            refused = subprocess.run([sys.executable, "-c", check], capture_output=True, **options)  # type: ignore[call-overload] # noqa: PLW1510
            assert refused.returncode != 0
            return subprocess.run(  # type: ignore[call-overload,no-any-return]
                [sys.executable, "-m", "pytest", *arguments],
                check=False,
                capture_output=True,
                text=True,
                **options,
            )
        finally:
            for folder in folders:
                folder.chmod(0o755)

    return start


@pytest.mark.parametrize("spread", ["-n0", "-n2"])
def test_a_root_that_cannot_be_written(
    project: Project, read_only: Callable[..., subprocess.CompletedProcess[str]], spread: str
) -> None:
    project.gates('name = "good"')
    shutil.rmtree(project.path / "__pycache__", ignore_errors=True)
    done = read_only(spread, "-p", "no:cacheprovider")
    assert done.returncode == OK, done.stdout
    done = read_only(spread, "-p", "no:cacheprovider", "--fgmf-report=json:report.json")
    assert done.returncode == FAILED
    assert "report NOT written" in done.stdout
    project.gates('name = "bad"\noutcome = "fail"')
    done = read_only(spread, "--fgmf-cache")
    assert done.returncode == FAILED, done.stdout
    assert "INTERNALERROR" not in done.stdout


REAL = """
import torch

def load():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[-1.0] * 16, [1.0] * 16]))
        model[1].bias.copy_(torch.tensor([8.0, -8.0]))
    return model.eval()

def data():
    labels = torch.arange(60) % 2
    images = 0.45 + 0.1 * labels.reshape(-1, 1, 1, 1) + 0.01 * torch.rand(60, 1, 4, 4)
    return images, labels
"""


def test_a_failure_whose_evidence_cannot_be_written_stays_a_failure(
    project: Project,
    read_only: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    (project.path / "conftest.py").unlink()
    project.write("real.py", REAL)
    project.write(
        "fgmf.toml",
        """
        schema = 1
        [model]
        factory = "real:load"
        bounds = [0, 1]
        [data]
        factory = "real:data"
        [[gate]]
        kind = "robustness"
        norm = "linf"
        epsilon = 0.2
        min_robust_accuracy = 0.5
        attacks = ["fgsm"]
        """,
    )
    report: Path = tmp_path_factory.mktemp("report") / "report.json"
    done = read_only("-p", "no:cacheprovider", f"--fgmf-report=json:{report}")
    assert done.returncode == FAILED, done.stdout + done.stderr
    assert "robustness: 0.000" in done.stdout
    assert "counterexamples: not saved" in done.stdout
    assert report.exists()
