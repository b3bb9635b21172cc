"""`fgmf init --ci` and `fgmf list`: the files are valid, and the commands in them are run here."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any, get_args

import pytest
import yaml
from typer.testing import CliRunner

from fgmf.cli.application import application
from fgmf.cli.services import SERVICES, ServiceName, template_of
from fgmf.gatefile.profiles import KNOWN_PROFILES

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """\
schema = 1
[model]
factory = "shop:load"
bounds = [0, 1]
[data]
factory = "shop:data"
"""
GATE = """
[[gate]]
name = "{name}"
kind = "corruption"
corruptions = ["brightness"]
severities = [1]
min_corruption_accuracy = {bar}
"""
SHOP = """
import torch

def load():
    return Bright()

class Bright(torch.nn.Module):
    def forward(self, images):
        above = 20 * (images.mean(dim=(1, 2, 3)) - 0.5)
        return torch.stack([-above, above], dim=1)

def data():
    labels = torch.arange(60) % 2
    noise = torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return 0.2 + 0.5 * labels.reshape(-1, 1, 1, 1) + 0.1 * noise, labels
"""


def run(*arguments: str) -> Any:
    return CliRunner().invoke(application, arguments)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "fgmf.toml").write_text(HEAD + GATE.format(name="good", bar=0.5))
    return tmp_path


def shell(script: str, directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script as the services do; `python` is this one."""
    place = directory / "bin"
    place.mkdir(exist_ok=True)
    python = place / "python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    environment = {**os.environ, "PATH": f"{place}:{os.environ['PATH']}", "CI": "true", **variables}
    return subprocess.run(
        ["/bin/bash", "-eo", "pipefail", "-c", script],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_service_has_a_template() -> None:
    assert set(SERVICES) == set(get_args(ServiceName))
    for service in SERVICES:
        assert yaml.safe_load(template_of(service))


@pytest.mark.parametrize("service", SERVICES)
def test_files_are_written_and_never_replaced_unasked(shop: Path, service: ServiceName) -> None:
    places = SERVICES[service].places
    for place in places:
        done = run("init", "--ci", service)
        assert done.exit_code == 0, done.stderr
        assert (shop / place).read_text() == template_of(service)
        (shop / place).write_text("mine")
    assert run("init", "--ci", service).exit_code == 2
    assert [(shop / place).read_text() for place in places] == ["mine"] * len(places)
    gates = (shop / "fgmf.toml").read_text()
    assert run("init", "--ci", service, "--force").exit_code == 0
    assert (shop / places[0]).read_text() == template_of(service)
    assert (shop / "fgmf.toml").read_text() == gates


def test_a_repository_without_gates_gets_both(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("init", "--ci", "github").exit_code == 0
    assert (tmp_path / "fgmf.toml").exists()
    assert (tmp_path / ".github/workflows/fgmf.yml").exists()
    assert run("init", "--ci", "jenkins").exit_code == 2


@pytest.mark.parametrize(("bar", "code"), [(0.5, 0), (1.0, 1)])
def test_the_steps_of_the_workflow(shop: Path, bar: float, code: int) -> None:
    (shop / "fgmf.toml").write_text(HEAD + GATE.format(name="good", bar=bar))
    workflow = yaml.safe_load(template_of("github"))
    job = workflow["jobs"]["gates"]
    scripts = {step["name"]: step["run"] for step in job["steps"] if "run" in step}
    assert list(scripts) == ["Install", "Gates", "Summary"]
    assert all("${{" not in script for script in scripts.values())
    summary = shop / "summary"
    summary.write_text("earlier\n")
    done = shell(scripts["Gates"], shop, FGMF_PROFILE="ci")
    assert done.returncode == code, done.stdout + done.stderr
    assert shell(scripts["Summary"], shop, GITHUB_STEP_SUMMARY=str(summary)).returncode == 0
    text = summary.read_text()
    assert text.startswith("earlier\n## FGMF gates")
    assert ("✅" if code == 0 else "❌") in text or "❔" in text
    assert len(text.encode()) < 900_000
    assert {path.name for path in (shop / "fgmf-report").iterdir()} == {
        "junit.xml",
        "report.html",
        "report.json",
        "summary.md",
    }


def test_a_summary_of_nothing_says_so(shop: Path) -> None:
    steps = yaml.safe_load(template_of("github"))["jobs"]["gates"]["steps"]
    (script,) = [step["run"] for step in steps if step.get("name") == "Summary"]
    assert shell(script, shop, GITHUB_STEP_SUMMARY=str(shop / "summary")).returncode == 0
    assert "No gate was measured" in (shop / "summary").read_text()


def test_the_script_of_the_pipeline(shop: Path) -> None:
    job = yaml.safe_load(template_of("gitlab"))["model-gates"]
    (script,) = job["script"]
    done = shell(script, shop, FGMF_PROFILE=job["variables"]["FGMF_PROFILE"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert (shop / job["artifacts"]["reports"]["junit"]).exists()


def test_the_profiles_of_the_files_need_no_table() -> None:
    job = yaml.safe_load(template_of("gitlab"))["model-gates"]
    named = [job["variables"], *(r["variables"] for r in job["rules"] if "variables" in r)]
    assert {entry["FGMF_PROFILE"] for entry in named} == {"ci", "nightly"} <= set(KNOWN_PROFILES)


def test_the_hooks_of_pre_commit(shop: Path) -> None:
    (repository,) = yaml.safe_load(template_of("pre-commit"))["repos"]
    for hook in repository["hooks"]:
        done = shell(hook["entry"], shop)
        assert done.returncode == 0, done.stdout + done.stderr
    (shop / "fgmf.toml").write_text(HEAD + GATE.format(name="good", bar='"high"'))
    for hook in repository["hooks"]:
        assert shell(hook["entry"], shop).returncode == 4


def test_the_list_shows_gates_and_loads_nothing(shop: Path) -> None:
    (shop / "shop.py").write_text("raise SystemExit('loaded')")
    code = (
        "import sys\nfrom fgmf.cli import main\n"
        "sys.argv[1:] = ['list']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=shop, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("fgmf.toml, profile ")
    assert "good  corruption" in done.stdout


def test_the_list_of_a_profile(shop: Path) -> None:
    late = GATE.format(name="late", bar=0.5) + 'profiles = ["nightly"]\n'
    (shop / "fgmf.toml").write_text(HEAD + GATE.format(name="good", bar=0.5) + late)
    assert "left out by profile default: late" in run("list").stdout
    assert "late  corruption" in run("list", "--profile", "nightly").stdout
    assert run("list", "--profile", "nowhere").exit_code == 2
    assert run("list", "nowhere.toml").exit_code == 4
