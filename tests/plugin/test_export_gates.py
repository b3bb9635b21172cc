"""Gates on exported files through the plugin: the file of the model, another's, a changed one."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import onnx
import pytest
import torch

from fgmf.classifier import Classifier
from fgmf.export import export_onnx, sign_export
from fgmf.mask_log.signing import Signer
from tests.plugin.test_report import without_cost
from tests.plugin.test_whole_path import FILE, SHOP

if TYPE_CHECKING:
    from pathlib import Path

    from tests.plugin.conftest import Project

KEY = Signer(bytes(32), name="release")
GATES = f"""
[[gate]]
name = "shipped"
kind = "export-parity"
artefact = "model.onnx"
epsilon = 0.001
min_robust_accuracy = 0.5
min_agreement = 0.9
min_attacked_agreement = 0.9
images = "all"
population = "dataset"
queries = 20

[[gate]]
name = "signed"
kind = "provenance"
artefact = "model.onnx"
public_key = "{KEY.verifier.text()}"
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[float, Path]:
    """Two signed files, by the bias of their model; made before runs in this process begin."""
    scope: dict = {}
    exec(SHOP, scope)  # noqa: S102 - the text of this project
    (images, _), found = scope["data"](), {}
    torch.set_num_threads(1)
    for bias in (8.0, 7.5):
        classifier = Classifier(scope["model"](bias), bounds=(0, 1), device="cpu")
        found[bias] = tmp_path_factory.mktemp("shipped") / "model.onnx"
        exported = export_onnx(classifier, images, found[bias])
        sign_export(found[bias], exported.provenance, KEY)
    return found


def _ship(project: Project, file: Path) -> None:
    for suffix in ("", ".sig"):
        shutil.copy(f"{file}{suffix}", project.path / f"model.onnx{suffix}")


@pytest.fixture
def shop(files: dict[float, Path], bare_project: Project) -> Project:
    bare_project.write("shop.py", SHOP)
    bare_project.write("fgmf.toml", FILE + GATES)
    _ship(bare_project, files[8.0])
    return bare_project


def test_the_file_of_the_model_passes_plain_and_spread(shop: Project) -> None:
    plain = shop.run("--fgmf-report=json:plain.json", "-W", "error")
    plain.assert_outcomes(passed=2)
    spread = shop.run("--fgmf-report=json:spread.json", "--fgmf-batch-size=7", mode="-n2")
    spread.assert_outcomes(passed=2)
    first, second = shop.report("plain.json"), shop.report("spread.json")
    assert without_cost(first) == without_cost(second)
    parity = next(v for v in first["verdicts"] if v["kind"] == "export-parity")
    measured = {c["quantity"]: c["measured"] for c in parity["conditions"]}
    assert measured["agreement"] == measured["attacked_agreement"] == 1.0
    # One layer of 16 inputs in float32, logits up to 24.
    assert measured["logit_gap"] < 2e-5


def test_markers_select_them(shop: Project) -> None:
    shop.run("-m", "provenance").assert_outcomes(passed=1, deselected=1)
    shop.run("-m", "export_parity").assert_outcomes(passed=1, deselected=1)


def test_the_file_of_another_model_is_an_error(shop: Project, files: dict[float, Path]) -> None:
    _ship(shop, files[7.5])
    result = shop.run("--fgmf-report=json:report.json")
    assert result.ret != 0
    assert shop.outcomes("report.json") == {"shipped": "error", "signed": "pass"}
    result.stdout.fnmatch_lines(["*got the export of another model*"])


def test_a_changed_file_fails_its_provenance_and_has_no_parity(shop: Project) -> None:
    path = shop.path / "model.onnx"
    model = onnx.load(path)
    weights = next(t for t in model.graph.initializer if len(t.dims) == 2)
    array = onnx.numpy_helper.to_array(weights).copy()
    array[0, 0] += 1e-6
    weights.CopyFrom(onnx.numpy_helper.from_array(array, weights.name))
    onnx.save(model, path)
    result = shop.run("--fgmf-report=json:report.json")
    assert result.ret != 0
    assert shop.outcomes("report.json") == {"shipped": "error", "signed": "fail"}
    result.stdout.fnmatch_lines([f"*provenance: *weights '{weights.name}' were changed*"])


def test_a_missing_file_is_an_error_of_both(shop: Project) -> None:
    (shop.path / "model.onnx").unlink()
    assert shop.run("--fgmf-report=json:report.json").ret != 0
    assert shop.outcomes("report.json") == {"shipped": "error", "signed": "error"}


def test_a_strangers_file_is_gated_by_what_it_does(shop: Project) -> None:
    path = shop.path / "model.onnx"
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    shop.run("--fgmf-report=json:report.json")
    assert shop.outcomes("report.json") == {"shipped": "pass", "signed": "fail"}
    alone = "schema = 1\nseed = 5\n[model]\npath = 'model.onnx'\nbounds = [0, 1]\n"
    robust = "[[gate]]\nkind = 'robustness'\nnorm = 'linf'\nepsilon = 0.001\nimages = 'all'\n"
    robust += "population = 'dataset'\nmin_robust_accuracy = 0.5\nsuite = 'black-box'\n"
    shop.write("fgmf.toml", alone + "[data]\nfactory = 'shop:data'\n" + robust)
    shop.run().assert_outcomes(passed=1)
