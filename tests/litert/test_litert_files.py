"""LiteRT files: made, stored sparsely, verified, and gated like any model without gradients.

These need the extra `litert`, more than a gigabyte of packages: `tox -e litert` runs them, and a
plain run of the tests does not come here (`norecursedirs` in pyproject.toml).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.classifier import Classifier
from fgmf.classifier.litert_backend import LiteRtModel
from fgmf.datasets import digits
from fgmf.errors import GradientUnavailable, InvalidInput
from fgmf.export import Anchors, ExportSettings, sign_export, verify_export
from fgmf.export.litert import ExportedLiteRt, export_litert, litert_logits, litert_runner
from fgmf.export.litert_sparse import sparsely_stored
from fgmf.gates import ExportParityGate, RobustnessGate, RunContext
from fgmf.mask_log.signing import Signer
from fgmf.sparsity import fine_tune, keep_highest, magnitude_scores
from fgmf.training import NFgsmRecipe, Schedule, train
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from pathlib import Path

EPSILON = 0.1
TOLERANCE = 1e-4
"""Of a logit: kernels of another library, logits of order 10 in float32."""
PARITY = {
    "artefact": "model.tflite",
    "epsilon": EPSILON,
    "min_robust_accuracy": 0.2,
    "images": 150,
    "queries": 60,
    # All of 150 agree at best, and the interval of that begins at 0.976.
    "min_agreement": 0.95,
    "min_attacked_agreement": 0.95,
}


@dataclass(frozen=True, kw_only=True)
class Made:
    """A pruned model, and its two files."""

    classifier: Classifier
    dense: ExportedLiteRt
    sparse: ExportedLiteRt


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    torch.set_num_threads(1)
    samples = digits("train")
    recipe = NFgsmRecipe(epsilon=EPSILON, schedule=Schedule(epochs=4))
    model = ConvNet(ConvNetConfig(image_side=8, widths=(8, 16), hidden=32), seed=1)
    train(model, samples, recipe, seed=1)
    fine_tune(model, samples, recipe, keep_highest(magnitude_scores(model), 0.75, scope="layer"))
    classifier = Classifier(
        model, bounds=(0, 1), normalize={"mean": [0.3], "std": [0.4]}, device="cpu"
    )
    folder = tmp_path_factory.mktemp("litert")
    sparse = ExportSettings(storage="sparse")
    return Made(
        classifier=classifier,
        dense=export_litert(classifier, samples.images[:64], folder / "model.tflite"),
        sparse=export_litert(classifier, samples.images[:64], folder / "sparse.tflite", sparse),
    )


def test_the_file_gives_what_the_model_gives(made: Made) -> None:
    images = digits("test").images
    with made.classifier.guard():
        logits = made.classifier.logits_in_batches(images)
    assert float((logits - litert_logits(made.dense.path, images)).abs().max()) <= TOLERANCE
    assert made.dense.logit_gap <= TOLERANCE


def test_sparse_storage_is_smaller_and_the_same_to_the_bit(made: Made) -> None:
    images = digits("test").images[:100]
    dense, sparse = (litert_logits(one.path, images) for one in (made.dense, made.sparse))
    assert torch.equal(dense, sparse)
    assert made.dense.sparse == ()
    assert len(made.sparse.sparse) == 4  # two convolutions, two linear layers
    assert made.sparse.bytes < 0.75 * made.dense.bytes
    assert made.sparse.provenance.storage == "sparse"
    assert made.sparse.provenance.patterns == made.dense.provenance.patterns


def test_what_has_no_zeros_is_left_alone(made: Made, tmp_path: Path) -> None:
    contents = made.sparse.path.read_bytes()
    assert sparsely_stored(contents) == (contents, ())  # nothing is stored sparsely twice
    with pytest.raises(InvalidInput, match="LiteRT file"):
        sparsely_stored(b"none at all" * 9)


def _read(path: Path) -> dict[str, np.ndarray]:
    """Constants of a file by name, sparse ones filled in place by place: slow, and plain."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(path.read_bytes()), 0))
    found = {}
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if data is None or tensor.type != schema.TensorType.FLOAT32:
            continue
        values, shape = np.frombuffer(bytes(data), dtype="<f4"), tuple(map(int, tensor.shape))
        if tensor.sparsity is not None:
            *_, last = tensor.sparsity.dimMetadata
            begins, places = last.arraySegments.values, last.arrayIndices.values
            rows = np.zeros((int(np.prod(shape[:-1])), shape[-1]), dtype=np.float32)
            for row in range(len(rows)):
                for at in range(int(begins[row]), int(begins[row + 1])):
                    rows[row, int(places[at])] = values[at]
            values = rows
        found[tensor.name.decode()] = values.reshape(shape)
    return found


def test_places_are_kept_whatever_the_shape(made: Made) -> None:
    dense, sparse = _read(made.dense.path), _read(made.sparse.path)
    assert {dense[name].ndim for name in made.sparse.sparse} == {2, 4}
    for name in made.sparse.sparse:
        assert name not in sparse  # it is filled when the file is loaded
        np.testing.assert_array_equal(sparse[f"{name}/sparse"], dense[name])


def test_a_classifier_runs_it_one_by_one(made: Made) -> None:
    images = digits("test").images[:5]
    classifier = Classifier(made.dense.path, bounds=(0, 1))
    assert classifier.logits(images).shape == (5, 10)
    assert not classifier.gradient_available
    with pytest.raises(GradientUnavailable, match=r"model\.tflite"):
        classifier.logits(images.clone().requires_grad_())
    with pytest.raises(InvalidInput, match="expected input that"):
        LiteRtModel(made.dense.path)(torch.rand(2, 1, 9, 9))
    run = litert_runner(made.dense.path, images[:1])
    (scores,) = run()
    assert torch.equal(torch.from_numpy(scores), classifier.logits(images[:1]))


def test_the_gates_take_it(made: Made) -> None:
    samples, context = digits("test"), RunContext(directory=made.dense.path.parent)
    for name in ("model.tflite", "sparse.tflite"):
        gate = ExportParityGate(**{**PARITY, "artefact": name})
        verdict = gate.check(made.classifier, samples.images, samples.labels, context=context)
        assert verdict.outcome is Outcome.PASS, verdict.reason
        measured = {condition.quantity: condition.measured for condition in verdict.conditions}
        assert measured["logit_gap"] <= TOLERANCE
    robust = RobustnessGate(
        norm="linf", epsilon=0.05, min_robust_accuracy=0.2, suite="black-box", images=60
    )
    verdict = robust.check(
        Classifier(made.dense.path, bounds=(0, 1)), samples.images, samples.labels
    )
    assert verdict.outcome is Outcome.PASS, verdict.reason


def test_other_weights_fail_parity(made: Made, tmp_path: Path) -> None:
    samples, path = digits("test"), tmp_path / "model.tflite"
    contents = made.dense.path.read_bytes()
    weights = next(array for array in _read(made.dense.path).values() if array.shape == (10, 32))
    assert contents.count(weights.tobytes()) == 1
    path.write_bytes(contents.replace(weights.tobytes(), (-weights).tobytes()))
    context = RunContext(directory=tmp_path)
    gate = ExportParityGate(**PARITY, normalization="baked")
    verdict = gate.check(made.classifier, samples.images, samples.labels, context=context)
    assert verdict.outcome is Outcome.FAIL, verdict.reason


def test_the_sidecar_stands_beside_it(made: Made) -> None:
    key = Signer(bytes(32), name="release")
    anchors = Anchors(public_key=key.verifier.text())
    assert verify_export(made.sparse.path).outcome is Outcome.INCONCLUSIVE
    sign_export(made.sparse.path, made.sparse.provenance, key)
    assert verify_export(made.sparse.path, anchors).outcome is Outcome.PASS
    other = replace(made.sparse.provenance, source="sha256:1")
    sign_export(made.sparse.path, other, key)
    assert verify_export(made.sparse.path, anchors).outcome is Outcome.FAIL
