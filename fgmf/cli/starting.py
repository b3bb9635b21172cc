"""`fgmf init`: the first gate file of a repository, with comments."""

from __future__ import annotations

import json
import math
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fgmf.canonical import write_atomically
from fgmf.cli.exits import ExitCode, WrongUse, say
from fgmf.cli.looking import FACTORY, look
from fgmf.gatefile import find_gate_file, load_gate_file
from fgmf.reporting import printable, render_findings

if TYPE_CHECKING:
    from fgmf.cli.looking import Sight

_MODEL, _DATA = "shop.model:load", "shop.data:test_set"
_DATA_SUFFIXES = frozenset({".npz", ""})


def run_init(output: Path, *, model: str | None, data: str | None, force: bool) -> ExitCode:
    """Write a gate file.

    Args:
        output: Where to.
        model: ``package.module:factory`` or an ONNX file; None writes a placeholder.
        data: Factory, ``.npz`` file or folder; None writes a placeholder.
        force: Replace a file that is there.

    Returns:
        PASSED: a file that parses was written.

    Raises:
        WrongUse: The file is there, or an argument is none of these.
        FactoryFailed: Model or data cannot be loaded; nothing is written.
    """
    output = output.absolute()
    _check_output(output, force=force)
    directory = output.parent
    model, data = _located(model, directory), _located(data, directory)
    _check_sources(model, data)
    sight = look(directory, model=model, data=data) if model and data else None
    text = gate_file_text(model=model or _MODEL, data=data or _DATA, sight=sight)
    _check_text(text)
    write_atomically(output, text.encode())
    say(f"wrote {output}")
    if sight is None:
        say("next: put your own factories into [model] and [data], then run `fgmf preflight`")
        return ExitCode.PASSED
    if sight.findings:
        say(render_findings(sight.findings))
    say("next: set min_robust_accuracy to what you require, then run `fgmf check`")
    return ExitCode.PASSED


def is_started(output: Path) -> bool:
    """Say whether there is a gate file already, in its own file or in pyproject.toml."""
    return os.path.lexists(output) or find_gate_file(output.absolute().parent) is not None


def gate_file_text(*, model: str, data: str, sight: Sight | None) -> str:
    """Write a gate file as text.

    Args:
        model: Factory or path, from the gate file's directory.
        data: Likewise.
        sight: What was seen of them; None writes usual values.
    """
    parts = [_head(sight), _model_table(model, sight), _data_table(data), _gate_table(sight)]
    return "\n\n".join([*parts, _PROFILES])


_PROFILES = """\
# More at night: `pytest --fgmf-profile nightly` or `fgmf check --profile nightly`.
# [profiles.nightly]
# images = "all"
# suite = "thorough"
"""


def _head(sight: Sight | None) -> str:
    lines = [
        "# Gates of this repository: `pytest` and `fgmf check` run them.",
        "# Every key, for editors: `fgmf schema gatefile`.",
    ]
    if sight is not None and sight.findings:
        lines.append("#")
        lines.append("# Seen before the first run (`fgmf preflight` looks again):")
        lines += [f"#   {line}".rstrip() for line in render_findings(sight.findings).splitlines()]
    lines += ["schema = 1", "seed = 0  # of the run; fixed, so that verdicts can be repeated"]
    return "\n".join(lines)


def _model_table(model: str, sight: Sight | None) -> str:
    lines = ["[model]", _source(model, "returns the torch.nn.Module")]
    if sight is not None:
        lines.append(f"# Seen: {sight.images}.")
    bounds = (0.0, 1.0) if sight is None else sight.bounds
    words = "lowest and highest valid pixel value; epsilon is in these units"
    lines.append(f"bounds = [{bounds[0]:g}, {bounds[1]:g}]  # {words}")
    normalize = None if sight is None else sight.normalize
    if normalize is None:
        lines.append("# What the model expects to have been applied; none if it does so itself.")
        lines.append("# normalize = { mean = [0.5], std = [0.25] }")
    else:
        lines.append("# Mean and deviation of your data: put those of training here.")
        values = f"mean = {normalize['mean']}, std = {normalize['std']}"
        lines.append(f"normalize = {{ {values} }}")
    lines.append('# device = "auto"')
    lines.append("# batch_size = 128  # halved when memory runs out")
    return "\n".join(lines)


def _data_table(data: str) -> str:
    return "\n".join(["[data]", _source(data, "returns images and labels, never trained on")])


def _gate_table(sight: Sight | None) -> str:
    epsilon = "8/255" if sight is None else sight.epsilon
    shown = json.dumps(epsilon) if isinstance(epsilon, str) else f"{epsilon:g}"
    lines = [
        "[[gate]]",
        'name = "robust-linf"',
        'kind = "robustness"',
        'norm = "linf"',
        f"epsilon = {shown}  # largest change of a pixel, in the units of the bounds",
    ]
    if sight is not None and not sight.gradient_available:
        lines.append("# An ONNX file has no gradients: attacks that need none are run.")
    lines.append("min_robust_accuracy = 0.5  # what you require; nobody can guess it")
    if sight is not None and sight.clean_accuracy is not None:
        seen = f"seen: {sight.clean_accuracy:.3f} of {sight.measured} images"
        classes = f"{sight.class_count} classes"
        lines.append(f"min_clean_accuracy = {_clean_threshold(sight):g}  # {seen}, {classes}")
    if sight is None or sight.gradient_available:
        lines.append('# suite = "standard"  # of attacks; "quick" for less, "thorough" for more')
    lines.append("# images = 500  # a stratified sample; more images, a narrower interval")
    lines.append("# required = true  # the run fails if this gate does not run")
    return "\n".join(lines)


def _clean_threshold(sight: Sight) -> float:
    """A threshold that the model as it is meets with some room."""
    from fgmf.statistics import binomial_interval

    right = round((sight.clean_accuracy or 0.0) * sight.measured)
    interval = binomial_interval(right, sight.measured, confidence=0.99)
    return max(0.0, math.floor(interval.lower * 100 - 1) / 100)


def _source(source: str, words: str) -> str:
    if FACTORY.fullmatch(source):
        return f'factory = "{source}"  # {words}'
    return f"path = {json.dumps(source)}"


def _located(source: str | None, directory: Path) -> str | None:
    """Return a factory as it is, and a path as it is called from the gate file."""
    if source is None or FACTORY.fullmatch(source):
        return source
    return Path(os.path.relpath(source, directory)).as_posix()


def _check_output(output: Path, *, force: bool) -> None:
    if output.suffix != ".toml" or output.name == "pyproject.toml":
        message = "expected --output as a TOML file of its own, such as fgmf.toml"
        raise WrongUse(f"{message}, got {output.name}")
    other = find_gate_file(output.parent)
    if output.name == "fgmf.toml" and other is not None and other.name == "pyproject.toml":
        raise WrongUse(f"expected no gate file in {output.parent}, got [tool.fgmf] in {other.name}")
    if os.path.lexists(output) and not force:
        raise WrongUse(f"{output} is there already; --force replaces it")


def _check_sources(model: str | None, data: str | None) -> None:
    for option, source, suffixes, words in (
        ("--model", model, {".onnx", ".tflite"}, "an .onnx or .tflite file"),
        ("--data", data, _DATA_SUFFIXES, "an .npz file or a folder of images"),
    ):
        usable = source is None or FACTORY.fullmatch(source) or Path(source).suffix in suffixes
        if not usable:
            message = f"expected {option} as package.module:factory or {words}"
            raise WrongUse(f"{message}, got {printable(str(source))}")


def _check_text(text: str) -> None:
    """Refuse to write what cannot be read."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "fgmf.toml"
        path.write_text(text, encoding="utf-8")
        load_gate_file(path, profile="default")
