"""Use the installed wheel as a stranger would, away from the checkout.

    python installed_wheel.py CHECKOUT

`tox -e wheel` runs it in an environment that has the built wheel. Ends with exit code 0 if the
plugin, the command and the packages' files are all there and work.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib.metadata import files
from pathlib import Path

SHOP = '''
import torch

class Brightness(torch.nn.Module):
    """Two classes, dark and bright: exact robustness is half the distance between the means."""

    def forward(self, images):
        mean = images.mean((1, 2, 3))
        return torch.stack([0.5 - mean, mean - 0.5], 1) * 10

def load():
    return Brightness().eval()

def data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 2
    noise = torch.rand(120, 1, 6, 6, generator=generator) * 0.2
    return noise + 0.2 + 0.4 * labels[:, None, None, None], labels
'''

GATES = """
schema = 1
[model]
factory = "shop:load"
bounds = [0, 1]
[data]
factory = "shop:data"
[[gate]]
name = "small"
kind = "robustness"
norm = "linf"
epsilon = 0.05
min_robust_accuracy = 0.9
[[gate]]
name = "large"
kind = "robustness"
norm = "linf"
epsilon = 0.4
min_robust_accuracy = 0.9
"""


def _run(directory: Path, *command: str) -> tuple[int, str]:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def _expect(condition: object, message: str) -> None:
    if not condition:
        raise SystemExit(message)


def _check_packages(checkout: Path) -> None:
    import fgmf
    import pytest_fgmf

    for package in (fgmf, pytest_fgmf):
        home = Path(str(package.__file__)).parent
        # The environment itself may lie inside the checkout, in .tox.
        _expect(home.parent != checkout, f"{home} is the checkout's own: not the wheel")
        _expect((home / "py.typed").exists(), f"no py.typed in {home}")
    sources = {
        path.relative_to(checkout).as_posix()
        for name in ("fgmf", "pytest_fgmf")
        for path in (checkout / name).rglob("*.py")
    }
    installed = {file.as_posix() for file in files("pytest-fgmf") or () if file.suffix == ".py"}
    _expect(sources <= installed, f"not in the wheel: {sorted(sources - installed)}")
    _expect(installed <= sources, f"only in the wheel: {sorted(installed - sources)}")


def _check_plugin(directory: Path) -> None:
    pytest = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q")
    code, output = _run(directory, *pytest, "--fgmf-report", "json:report.json")
    _expect(code == 1 and "1 failed, 1 passed" in output, f"pytest: exit code {code}\n{output}")
    verdicts = json.loads((directory / "report.json").read_text())["verdicts"]
    outcomes = {verdict["gate"]: verdict["outcome"] for verdict in verdicts}
    _expect(outcomes == {"large": "fail", "small": "pass"}, f"report: {outcomes}")
    code, output = _run(directory, *pytest, "fgmf.toml::small")
    _expect(code == 0, f"pytest fgmf.toml::small: exit code {code}\n{output}")


def _check_command(directory: Path) -> None:
    fgmf = str(Path(sys.executable).parent / "fgmf")
    for arguments, expected in ((["check", "--gate", "small"], 0), (["check"], 1)):
        code, output = _run(directory, fgmf, *arguments)
        _expect(code == expected, f"fgmf {arguments}: exit code {code}\n{output}")


def _check_stranger(checkout: Path, directory: Path) -> None:
    """Follow the quick start, from an empty directory to two verdicts, with what was installed."""
    page = (checkout / "docs" / "quick-start.md").read_text()
    source = page.partition("```python\n")[2].partition("\n```")[0] + "\n"
    (directory / source.splitlines()[0].removeprefix("# ")).write_text(source)
    lines = [line.removeprefix("$ ") for line in page.splitlines() if line.startswith("$ ")]
    _expect(len(lines) == 3, f"quick start: {lines}")
    for expected, line in zip((0, 1, 0), lines, strict=True):
        tool, *rest = line.split()
        code, output = _run(directory, str(Path(sys.executable).parent / tool), *rest)
        _expect(code == expected, f"{line}: exit code {code}\n{output}")
        if expected == 1:
            gates = directory / "fgmf.toml"
            gates.write_text(gates.read_text().replace("accuracy = 0.5 ", "accuracy = 0.3 "))


def main() -> None:
    """Check the packages, the plugin, the command, and the path of a stranger."""
    checkout = Path(sys.argv[1]).resolve()
    _check_packages(checkout)
    with tempfile.TemporaryDirectory() as name:
        _check_stranger(checkout, Path(name))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "shop.py").write_text(SHOP)
        (directory / "fgmf.toml").write_text(GATES)
        _check_plugin(directory)
        _check_command(directory)


if __name__ == "__main__":
    main()
