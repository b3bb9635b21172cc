"""Options and ini values: one stem each, the same meaning, refused alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_fgmf.plugin import OPTIONS, flag_of, ini_of
from tests.plugin.test_broken_files import assert_usage_error

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

REFUSED = {
    "seed": "minus one",
    "batch-size": "0",
    "report": "xml:report.xml",
}


def test_help_shows_every_option_and_ini_value(project: Project) -> None:
    text = project.run("--help").stdout.str()
    for stem, metavar, _, _ in OPTIONS:
        assert (f"{flag_of(stem)}={metavar}" if metavar else flag_of(stem)) in text
        assert f"\n  {ini_of(stem)} (" in text


@pytest.mark.parametrize("stem", REFUSED)
@pytest.mark.parametrize("given", ["option", "ini"])
def test_wrong_values_are_usage_errors(project: Project, stem: str, given: str) -> None:
    name, value = stem.replace("-", "_"), REFUSED[stem]
    arguments = [f"--fgmf-{stem}", value] if given == "option" else ["-o", f"fgmf_{name}={value}"]
    result = project.run(*arguments)
    assert_usage_error(result, f"*--fgmf-{stem} (fgmf_{name}): expected *, got '{value}'")


def test_wrong_values_are_usage_errors_under_xdist(project: Project) -> None:
    assert_usage_error(project.run("--fgmf-seed=x", mode="-n2"), "*--fgmf-seed (fgmf_seed)*")


@pytest.mark.parametrize("given", ["option", "ini", "file"])
def test_the_seed(project: Project, mode: str, given: str) -> None:
    if mode == "-n2" and given != "option":
        mode = "-n0"
    head = None
    arguments = ["--fgmf-seed=7"] if given == "option" else []
    if given == "ini":
        project.write("pytest.ini", "[pytest]\nfgmf_seed = 7\n")
    path = project.gates('name = "good"')
    usual = project.run("--fgmf-report=json:usual.json", "-o", "fgmf_seed=", mode=mode)
    assert usual.ret == pytest.ExitCode.OK
    if given == "file":
        head = path.read_text().replace("schema = 1", "schema = 1\nseed = 7")
        path.write_text(head)
    project.run(*arguments, "--fgmf-report=json:seven.json", mode=mode)
    seven, zero = project.report("seven.json"), project.report("usual.json")
    assert (seven["run"]["seed"], zero["run"]["seed"]) == (7, 0)
    assert seven["verdicts"][0]["seed"] != zero["verdicts"][0]["seed"]


def test_the_option_wins_over_the_file(project: Project) -> None:
    path = project.gates('name = "good"')
    path.write_text(path.read_text().replace("schema = 1", "schema = 1\nseed = 3"))
    project.run("--fgmf-seed=7", "--fgmf-report=json:report.json")
    assert project.report()["run"]["seed"] == 7


@pytest.mark.parametrize("given", ["option", "ini"])
def test_device_and_batch_size_reach_the_model(bare_project: Project, given: str) -> None:
    bare_project.write(
        "store.py",
        """
        import torch

        def model(): return torch.nn.Flatten()
        def data(): return torch.zeros(4, 1, 2, 2), torch.tensor([0, 1, 2, 3])
        """,
    )
    bare_project.write(
        "fgmf.toml",
        """
        schema = 1
        [model]
        factory = "store:model"
        bounds = [0, 1]
        device = "mps"
        batch_size = 2
        [data]
        factory = "store:data"
        [[gate]]
        kind = "robustness"
        norm = "linf"
        epsilon = 0.1
        min_robust_accuracy = 0.5
        """,
    )
    bare_project.write(
        "tests/test_model.py",
        """
        def test_model(fgmf):
            assert (str(fgmf.classifier.device), fgmf.classifier.batch_size) == ("cpu", 3)
            assert len(fgmf.samples) == 4
        """,
    )
    arguments = ["--fgmf-device=cpu", "--fgmf-batch-size=3"]
    if given == "ini":
        arguments = ["-o", "fgmf_device=cpu", "-o", "fgmf_batch_size=3"]
    bare_project.run("tests/test_model.py::test_model", *arguments).assert_outcomes(passed=1)


def test_the_replay_of_the_ini_file(project: Project) -> None:
    """Evidence that is not there is refused wherever it is named."""
    project.write("pytest.ini", "[pytest]\nfgmf_replay = .fgmf/failures/none\n")
    project.gates('name = "good"')
    assert_usage_error(project.run(), "--fgmf-replay: expected saved evidence, got *none *")


def test_the_baselines_of_the_ini_file(project: Project) -> None:
    project.write("pytest.ini", "[pytest]\nfgmf_update_baseline = update\n")
    project.gates('name = "good"\nends = "rrb"')
    project.run()
    assert (project.path / ".fgmf" / "baselines" / "good.json").exists()


@pytest.mark.parametrize(
    "marker",
    [
        "robustness",
        "attack_selftest",
        "corruption",
        "gradient_masking",
        "faithfulness",
        "explanation_stability",
        "mask_log",
        "export_parity",
        "provenance",
        "team_mask_log",
        "team_robustness",
        "team_faithfulness",
        "policy_return",
    ],
)
def test_every_kind_has_a_marker(bare_project: Project, marker: str) -> None:
    """`-m` finds the gate of its kind and no other."""
    needs = {
        "robustness": 'norm = "linf"\nepsilon = 0.1\nmin_robust_accuracy = 0.5',
        "attack_selftest": 'norm = "linf"\nepsilon = 0.1',
        "corruption": "min_corruption_accuracy = 0.5",
        "gradient_masking": 'norm = "linf"\nepsilon = 0.1',
        "faithfulness": 'explainer = "pgca"\nmetrics = [{ name = "deletion", min_margin = 0.0 }]',
        "explanation_stability": 'explainer = "pgca"\nnoise = 0.1\nmin_noise_similarity = 0.1',
        "mask_log": 'path = "log"\nhead = "sha256:' + "0" * 64 + '"',
        "export_parity": 'artefact = "m.onnx"\nepsilon = 0.1\nmin_robust_accuracy = 0.5',
        "provenance": 'artefact = "m.onnx"\nlog = "log"\nhead = "sha256:' + "0" * 64 + '"',
        "team_faithfulness": 'explainer = "pgca"\nmin_margin = 0.0',
        "team_robustness": 'norm = "linf"\nepsilon = 0.1\nmin_robust_accuracy = 0.5',
        "team_mask_log": 'path = "log"\nagents = ["cnn", "vit"]',
        "policy_return": 'environment = "shop:world"\nepsilon = 0.1\nmin_return = 0.5',
    }
    path = bare_project.gates()
    tables = [f'[[gate]]\nkind = "{k.replace("_", "-")}"\n{v}\n' for k, v in needs.items()]
    path.write_text(path.read_text() + "\n".join(tables))
    result = bare_project.run("--collect-only", "-q", "-m", marker, "--strict-markers")
    shown = [line for line in result.stdout.lines if line.startswith("fgmf.toml::")]
    assert shown == [f"fgmf.toml::{marker.replace('_', '-')}"]
