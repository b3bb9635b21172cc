"""Hostile input: gate files, report paths, what models return, names with markup, linked logs."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from tests.plugin.conftest import HEAD, section
from tests.plugin.test_broken_files import assert_usage_error

if TYPE_CHECKING:
    from pathlib import Path

    from tests.plugin.conftest import Project

FILES: dict[str, bytes] = {
    "no text": bytes(range(256)),
    "nul": b"schema = 1\x00\n",
    "utf-16": "schema = 1\n".encode("utf-16"),
    "a deep array": HEAD.encode() + b"x = " + b"[" * 20_000,
    "deep tables": b"[" + b".".join([b"a"] * 5_000) + b"]\n",
    "an endless number": HEAD.encode() + b"seed = " + b"9" * 100_000 + b"\n",
    "a long key": HEAD.encode() + b"k" * 200_000 + b" = 1\n",
    "nothing": b"",
    "a key that moves the cursor": HEAD.encode() + b'"a\\u001b[2Jb" = 1\n',
    "a list for a table": b"schema = 1\nmodel = []\ndata = 3\ngate = 'x'\n",
}


@pytest.mark.parametrize("case", FILES)
def test_a_hostile_gate_file_is_a_usage_error(project: Project, case: str, local: str) -> None:
    (project.path / "fgmf.toml").write_bytes(FILES[case])
    result = project.run("tests", mode=local)
    assert_usage_error(result, "fgmf.toml*")
    assert "\x1b[2J" not in result.stdout.str() + result.stderr.str()
    assert all(len(line) < 5_000 for line in (*result.stdout.lines, *result.stderr.lines))


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "a\\u001b[31mb", "../../etc/passwd", "", "x" * 200, "é"]
)
def test_names_that_are_no_names_are_refused(project: Project, name: str) -> None:
    project.gates(f'name = "{name}"' if name else 'name = " "')
    assert_usage_error(project.run("tests"), "gate[[]0].name: *")


@pytest.mark.parametrize("form", ["json", "markdown", "html"])
@pytest.mark.parametrize("place", ["tests", "tests/test_own.py/report", "x" * 300])
def test_report_paths_that_lead_nowhere_fail_the_run(
    project: Project, form: str, place: str
) -> None:
    project.gates('name = "good"')
    before = sorted(p.name for p in project.path.rglob("*") if "__pycache__" not in p.parts)
    result = project.run(f"--fgmf-report={form}:{place}")
    assert result.ret in {pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.USAGE_ERROR}
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    after = sorted(p.name for p in project.path.rglob("*") if "__pycache__" not in p.parts)
    assert after == before


def test_a_report_takes_the_place_of_a_link_and_leaves_its_target(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    target: Path = tmp_path_factory.mktemp("else") / "precious.txt"
    target.write_text("precious")
    project.gates('name = "good"')
    (project.path / "report.json").symlink_to(target)
    assert project.run("--fgmf-report=json:report.json").ret == pytest.ExitCode.OK
    assert target.read_text() == "precious"
    assert project.outcomes() == {"good": "pass"}


MARKUP = "</td><script>alert(1)</script>\\x1b[2J\\u202e|`*"
EVIDENCE = {
    "per_class": {"NAME": {"robust_accuracy": 0.1, "images": 3}, "b": {"robust_accuracy": 1.0}},
    "threat": "NAME",
    "attacks": [{"title": "NAME", "broken": 1, "attacked": 2, "parameters": {"NAME": "NAME"}}],
    "corruptions": [{"title": "NAME", "accuracy": 0.5, "by_severity": {"NAME": 0.5}}],
    "pictures": [
        {"title": "NAME", "columns": ["NAME"], "rows": [{"caption": "NAME", "tiles": ["NAME"]}]}
    ],
    "head": "NAME",
    "log_outcome": "NAME",
    "streams": [{"stream": "NAME"}],
}


class Tags(HTMLParser):
    """Names of all elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.add(tag)


def test_names_with_markup_are_escaped_wherever_they_are_shown(
    project: Project, local: str
) -> None:
    project.gates('name = "bad"\noutcome = "fail"')
    conftest = project.path / "conftest.py"
    evidence = repr(EVIDENCE).replace("NAME", MARKUP)
    told = conftest.read_text().replace("evidence=self.evidence(),", f"evidence={evidence},")
    conftest.write_text(told.replace('reason="as it was told"', f'reason="{MARKUP}"'))
    reports = [f"--fgmf-report={form}:r.{form}" for form in ("json", "markdown", "html")]
    result = project.run(*reports, "--junitxml=junit.xml", mode=local)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "\x1b[2J" not in result.stdout.str()
    assert "\u202e" not in result.stdout.str()
    page = (project.path / "r.html").read_text()
    assert "script" not in Tags(page).found
    assert "\x1b" not in page
    assert "<script>" not in (project.path / "r.markdown").read_text()
    assert ET.parse(project.path / "junit.xml")  # noqa: S314 - written by our own run
    assert project.outcomes("r.json") == {"bad": "fail"}


MODELS = """
import torch

images = torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(0))
labels = torch.arange(60) % 2

class Hostile(torch.nn.Module):
    def forward(self, x):
        good = torch.stack([x.mean((1, 2, 3)), 1 - x.mean((1, 2, 3))], 1)
        return {answer}

def load():
    return Hostile().eval()

def data():
    return images, labels
"""
ANSWERS = {
    "nan": "good * float('nan')",
    "infinite": "good + float('inf')",
    "text": "'<script>'",
    "nothing": "None",
    "one row": "good[:1]",
    "no classes": "good[:, :0]",
    "integers": "good.argmax(1)",
    "a generator": "(row for row in good)",
    "a huge dictionary": "{str(n): good for n in range(50)}",
    "itself": "self",
    "an exit": "exit(0)",
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_what_hostile_models_return_is_never_a_pass(project: Project, answer: str) -> None:
    (project.path / "conftest.py").unlink()
    module = f"hostile_{answer.replace(' ', '_')}"
    project.write(f"{module}.py", MODELS.format(answer=ANSWERS[answer]))
    head = HEAD.replace("shop:", f"{module}:").replace(":model", ":load")
    project.write(
        "fgmf.toml",
        head
        + '[[gate]]\nkind = "robustness"\nnorm = "linf"\nepsilon = 0.01\nattacks = ["fgsm"]\n'
        + "min_robust_accuracy = 0.0\n",
    )
    result = project.run("--fgmf-report=json:report.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert project.outcomes() == {"robustness": "error"}
    assert len(section(result)) < 20


def test_a_log_whose_folders_are_links_is_no_log(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from mask_logs import write_log

    (project.path / "conftest.py").unlink()
    elsewhere: Path = tmp_path_factory.mktemp("elsewhere")
    log = write_log(elsewhere / "log")
    linked = project.path / "log"
    linked.mkdir()
    for entry in (elsewhere / "log").iterdir():
        (linked / entry.name).symlink_to(entry)
    project.write(
        "fgmf.toml",
        f'schema = 1\n[[gate]]\nkind = "mask-log"\npath = "log"\nhead = "{log.head}"\n',
    )
    before = {p: p.read_bytes() for p in elsewhere.rglob("*") if p.is_file()}
    result = project.run("--fgmf-report=json:report.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert set(project.outcomes().values()) <= {"error", "fail", "inconclusive"}
    assert {p: p.read_bytes() for p in elsewhere.rglob("*") if p.is_file()} == before
