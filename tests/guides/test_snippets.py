"""Every snippet of every page is run, or, where it is a command line, read as the command reads it.

Python snippets of a page share a namespace, in their order; what a page leaves to the reader (a
model, images, a loop's batches) is prepared here. A page without preparation fails.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from fgmf.agents import Team
from fgmf.classifier import Classifier
from fgmf.datasets import Samples, digits

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [
    ROOT / "README.md",
    ROOT / "examples/digits/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
ELSEWHERE = {
    "how-to.md": "tests/guides/test_guides.py",
    "quick-start.md": "tests/guides/test_guides.py",
    "hooks.md": "tests/plugin/test_hooks.py",
}
"""Pages whose Python snippets another test runs."""
Names = dict[str, Any]


def snippets(path: Path, *languages: str) -> list[str]:
    return [code for name, code in FENCE.findall(path.read_text()) if name in languages]


def is_test(code: str) -> bool:
    """Whether a snippet is tests and fixtures, which pytest has to run."""
    return "(fgmf)" in code or "@pytest.fixture" in code


def images(count: int = 8, side: int = 28, channels: int = 1) -> torch.Tensor:
    draws = torch.Generator().manual_seed(1)
    return torch.rand(count, channels, side, side, generator=draws)


def network(side: int = 28, channels: int = 1) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return torch.nn.Sequential(
            torch.nn.Conv2d(channels, 4, 3, padding=1, stride=2),
            torch.nn.Softplus(),
            torch.nn.Flatten(),
            torch.nn.Linear(4 * ((side + 1) // 2) ** 2, 10),
        ).eval()


def common() -> Names:
    """A network of ten classes, images and labels."""
    labels = torch.arange(8) % 10
    return {
        "model": network(),
        "images": images(),
        "labels": labels,
        "targets": labels,
        "batches": [(images(), labels)] * 2,
    }


def curvature() -> Names:
    return {**common(), "directions": images()}


def faithfulness() -> Names:
    return {**common(), "classifier": Classifier(network(), bounds=(0, 1), device="cpu")}


def mask_log() -> Names:
    from fgmf.sgam import Sgam

    loader = [([f"sample-{at}" for at in range(8)], images(), torch.arange(8) % 10)] * 2
    return {
        "model": Sgam.wrap(network(), channels=1),
        "loader": loader,
        "cross_entropy": cross_entropy,
        "attack": lambda model, given, labels: given + 0 * model(given).sum(),
    }


def few() -> Samples:
    data = digits()
    return Samples(images=data.images[:64], labels=data.labels[:64])


def scorpio() -> Names:
    from fgmf.sgam import Sgam

    small = few()
    return {
        "model": network(side=8).train(),
        "wrapped": Sgam.wrap(network(side=8), channels=1),
        "samples": small,
        "batches": [(small.images[:8], small.labels[:8])] * 2,
        "loss_of": _loss_of,
    }


_SCORED = network(side=8)


def _loss_of(given: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return cross_entropy(_SCORED(given), labels)


def scorpio_optimizer() -> Names:
    return {**scorpio(), "model": _SCORED}


def sgam() -> Names:
    draws = torch.arange(8) % 10
    return {
        "backbone": network(channels=3),
        "batches": [(images(channels=3), draws)] * 2,
        "images": images(channels=3),
        "outputs": images(channels=3),
    }


def training() -> Names:
    return {"samples": Samples(images=images(), labels=torch.arange(8) % 10)}


def teams() -> Names:
    from fgmf.agents import Agent
    from fgmf.backbones import ConvNet
    from fgmf.sgam import Sgam

    names = ("cnn", "vit", "hybrid")
    agents = [Agent(name, Sgam.wrap(ConvNet(), channels=1)) for name in names]
    return {
        "images": images(),
        "labels": torch.arange(8) % 10,
        "older_logits": torch.zeros(3, 8, 10),
        "agents": agents,
        "requests": [([f"r{at}" for at in range(8)], images())] * 2,
    }


def policies() -> Names:
    place = str(ROOT / "examples/carriers")
    if place not in sys.path:
        sys.path.append(place)
    import carriers.team

    return {"team": carriers.team.untrained()}


def python_page() -> Names:
    return {**common(), "loader": (images(), torch.arange(8) % 10)}


def after_export(names: Names) -> None:
    """The function of the page is defined; what it calls is tested in tests/unit/export."""
    assert callable(names["ship"])


def after_diagnosis(names: Names) -> None:
    data = few()
    assert names["diagnose"](network(side=8), data.images, data.labels).kind == "gradient-masking"


PREPARED: dict[str, Callable[[], Names]] = {
    "README.md": common,
    "curvature.md": curvature,
    "explanations.md": common,
    "export.md": dict,
    "faithfulness.md": faithfulness,
    "gradient-masking.md": dict,
    "hypothesis.md": dict,
    "mask-log.md": mask_log,
    "policies.md": policies,
    "python.md": python_page,
    "scorpio.md": scorpio,
    "sgam.md": sgam,
    "teams.md": teams,
    "training.md": training,
}
AFTER: dict[str, Callable[[Names], None]] = {
    "export.md": after_export,
    "gradient-masking.md": after_diagnosis,
}
ANEW: dict[str, Callable[[], Names]] = {
    "CurvatureAware(": scorpio_optimizer,
    "TeamMaskLog(": lambda: {"team": Team(teams()["agents"])},
}
"""Snippets about another model than those before them, by what they call."""
UNAVAILABLE = {
    'datasets.fashion_mnist("data/fashion")': "datasets.digits()",
    'datasets.image_folder("photos")': "datasets.digits()",
    'datasets.npz("test.npz")': "datasets.digits()",
    "torch.load(": "(lambda path, **options: None)(",
    "from lightning_fabric import Fabric": (
        "from unittest.mock import Mock\n"
        "Fabric = Mock(return_value=Mock(global_rank=0, world_size=1, device='cpu'))"
    ),
}
"""Calls that need the reader's files or packages; what they return is tested with the functions
themselves (Fabric: tests/unit/training/test_fabric.py)."""


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_python_snippets_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [code for code in snippets(path, "python") if not is_test(code)]
    if not found or path.name in ELSEWHERE:
        return
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = {**PREPARED[path.name](), "__name__": "snippet"}
    for code in found:
        names.update(next((make() for call, make in ANEW.items() if call in code), {}))
        runnable = code
        for call, stand_in in UNAVAILABLE.items():
            runnable = runnable.replace(call, stand_in)
        exec(compile(runnable, str(path), "exec"), names)  # noqa: S102 - our own documents
    if path.name in AFTER:
        AFTER[path.name](names)


def test_every_page_is_run_somewhere() -> None:
    for path in PAGES:
        if any(not is_test(code) for code in snippets(path, "python")):
            assert path.name in {*PREPARED, *ELSEWHERE}, path
    for place in ELSEWHERE.values():
        assert (ROOT / place).is_file()


CONFTEST = '''
import pytest, torch
import fgmf

def load_model():
    """Which of two corners is bright; EDGE is how much the second one counts."""
    linear = torch.nn.Linear(64, 2)
    weights = torch.zeros(2, 8, 8)
    weights[0, :4, :4] = 0.45
    weights[1, 4:, 4:] = 0.45 * EDGE
    with torch.no_grad():
        linear.weight.copy_(weights.flatten(1))
        linear.bias.zero_()
    return torch.nn.Sequential(torch.nn.Flatten(), linear).eval()

draws = torch.Generator().manual_seed(0)
labels = torch.arange(120) % 2
images = torch.rand(120, 1, 8, 8, generator=draws) * 0.1 + 0.2
images[:, :, :4, :4] += 0.5 * (1 - labels[:, None, None, None])
images[:, :, 4:, 4:] += 0.5 * labels[:, None, None, None]
'''
BROKEN = """
def test_robust(fgmf):
    fgmf.assert_robust(norm="linf", epsilon=0.05, min_robust_accuracy=0.95)
"""


def pytest_in(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rA", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )


def broken_first(directory: Path, fixtures: str) -> Path:
    """Leave the evidence of a gate that failed, and then a model that withstands it."""
    conftest, test = directory / "conftest.py", directory / "test_first.py"
    test.write_text(BROKEN)
    conftest.write_text(CONFTEST.replace("EDGE", "0.4") + fixtures)  # near half of the images
    assert pytest_in(directory).returncode == 1
    test.unlink()
    conftest.write_text(CONFTEST.replace("EDGE", "1.0") + fixtures)
    (saved,) = (directory / ".fgmf" / "failures").iterdir()
    return saved.rename(saved.with_name("test_robust"))


def test_tests_of_the_pages_pass_in_a_repository(tmp_path: Path) -> None:
    """Fixtures as `conftest.py`, tests as files; evidence of a failed gate is there first."""
    found = [(path, code) for path in PAGES for code in snippets(path, "python") if is_test(code)]
    fixtures = [code for _, code in found if "@pytest.fixture" in code]
    tests = [(path, code) for path, code in found if "@pytest.fixture" not in code]
    assert len(fixtures) == 1
    assert len(tests) >= 5
    evidence = broken_first(tmp_path, fixtures[0])
    assert evidence.is_dir()
    for at, (path, code) in enumerate(tests):
        name = re.sub(r"\W", "_", path.stem)
        (tmp_path / f"test_{at}_{name}.py").write_text(code)
    done = pytest_in(tmp_path)
    counts = re.search(r"(\d+) passed", done.stdout)
    assert counts is not None, done.stdout + done.stderr
    assert done.returncode == 0, done.stdout
    assert int(counts[1]) >= len(tests)


def command_lines() -> list[tuple[str, str]]:
    found = []
    for path in PAGES:
        for block in snippets(path, "sh"):
            found += [(path.name, line) for line in block.splitlines()]
        for block in snippets(path, "console"):
            found += [
                (path.name, line.removeprefix("$ "))
                for line in block.splitlines()
                if line.startswith("$ ")
            ]
    return [(page, line) for page, line in found if line.strip()]


def read_fgmf(words: list[str]) -> None:
    """Read a command line as `fgmf` does, without running it."""
    import typer.main

    from fgmf.cli.application import application

    command: Any = typer.main.get_command(application)
    name, rest = "fgmf", words
    while hasattr(command, "commands") and rest and rest[0] in command.commands:
        name, rest, command = rest[0], rest[1:], command.commands[rest[0]]
    assert not hasattr(command, "commands"), f"no such command: {' '.join(words)}"
    command.make_context(name, list(rest))


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_commands_are_read_as_they_are_written(
    page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line, comments=True)
    if "-m" in words and "torchrun" in words:
        words = words[words.index("-m") + 1 :]
    if words[0] == "fgmf":
        read_fgmf(words[1:])
    elif words[0] == "pytest":
        listed = {flag for flag in words[1:] if flag.startswith("--fgmf")}
        assert {flag.partition("=")[0] for flag in listed} <= plugin_flags(), line
    else:
        assert words[0] in {"git", "pip", "python", "python3.11"}, line


def plugin_flags() -> set[str]:
    from pytest_fgmf.plugin import LIST_FLAG, OPTIONS, flag_of

    return {LIST_FLAG, *(flag_of(stem) for stem, _, _, _ in OPTIONS)}
