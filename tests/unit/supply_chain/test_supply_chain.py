"""Evidence formats: valid by the formats' own libraries, honest about what did not pass."""

from __future__ import annotations

import base64
import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1.statement import Statement
from typer.testing import CliRunner

from fgmf.cli.application import application
from fgmf.errors import InvalidInput
from fgmf.gates import _OWN_KINDS
from fgmf.mask_log.signing import Signer, VerifierKey, write_key
from fgmf.reporting.document import encode_report, report_document
from fgmf.supply_chain import (
    SUPPORT,
    bill_of_materials,
    read_report,
    render_model_card,
    sign_statement,
    statement_of_results,
    verify_envelope,
)
from fgmf.supply_chain.dsse import pre_authentication_encoding
from fgmf.verdict import Condition, Finding, Interval, Outcome, Verdict

if TYPE_CHECKING:
    from fgmf.supply_chain import EvidenceReport

ROOT = Path(__file__).parents[3]
STATE = "sha256:" + "ab" * 32
HOSTILE = "a\n---\nbad: [<script>alert(1)</script>"


def verdict(gate: str = "robust", outcome: Outcome = Outcome.PASS, **changed: Any) -> Verdict:
    interval = Interval(lower=0.4, upper=0.6, confidence=0.95, method="Clopper-Pearson")
    condition = Condition(
        quantity="robust_accuracy",
        measured=0.5,
        interval=interval,
        threshold=0.3,
        outcome=Outcome.PASS if outcome is Outcome.ERROR else outcome,
    )
    values: dict[str, Any] = {
        "kind": "robustness",
        "reason": "",
        "measured": 0.5,
        "interval": interval,
        "threshold": 0.3,
        "image_count": 100,
        "seed": 7,
        "conditions": () if outcome is Outcome.ERROR else (condition,),
        "evidence": {
            "model_digest": STATE,
            "data_digest": "sha256:" + "cd" * 32,
            "threat": "Linf eps 8/255",
            "attacks": [{"name": "pgd", "title": "PGD"}],
        },
        **changed,
    }
    return Verdict(gate=gate, outcome=outcome, **values)


def report_of(directory: Path, *verdicts: Verdict) -> EvidenceReport:
    path = directory / "report.json"
    facts: dict[str, Any] = {"gate_file": "fgmf.toml", "gate_file_digest": "sha256:" + "ef" * 32}
    path.write_bytes(encode_report(report_document(verdicts, run=facts)))
    return read_report(path)


WARNING = Finding(name="few", severity="warning", message="few", fix="more")
EVERYTHING = (
    verdict("good"),
    verdict("warned", findings=(WARNING,)),
    verdict("through", Outcome.INCONCLUSIVE, accepted=True),
    verdict("bad", Outcome.FAIL),
    verdict("vague", Outcome.INCONCLUSIVE),
    verdict("broken", Outcome.ERROR, measured=None, interval=None),
)


def test_a_statement_is_valid_and_tells_apart_what_passed(tmp_path: Path) -> None:
    statement = statement_of_results(
        report_of(tmp_path, *EVERYTHING), files={"w": "sha256:" + "12" * 32}
    )
    parsed = json_format.ParseDict(statement, Statement([], "", {}).pb)
    Statement.copy_from_pb(parsed).validate()
    predicate: Any = statement["predicate"]
    json_format.ParseDict(predicate, test_result_pb2.TestResult())
    assert predicate["result"] == "FAILED"
    assert predicate["passedTests"] == ["good"]
    assert predicate["warnedTests"] == ["through", "warned"]
    assert predicate["failedTests"] == ["bad", "broken", "vague"]
    subjects: Any = statement["subject"]
    assert [s["digest"] for s in subjects] == [
        {"fgmfStateSha256": "ab" * 32},
        {"sha256": "12" * 32},
    ]
    assert [e["name"] for e in predicate["configuration"]] == ["fgmf.toml", "report.json"]


@pytest.mark.parametrize(("count", "result"), [(1, "PASSED"), (2, "WARNED"), (3, "WARNED")])
def test_the_worst_gate_is_the_result(tmp_path: Path, count: int, result: str) -> None:
    predicate: Any = statement_of_results(report_of(tmp_path, *EVERYTHING[:count]), files={})[
        "predicate"
    ]
    assert predicate["result"] == result


def test_a_statement_about_nothing_is_refused(tmp_path: Path) -> None:
    opaque = verdict(evidence={"model_digest": "opaque:function"})
    with pytest.raises(InvalidInput, match="got neither"):
        statement_of_results(report_of(tmp_path, opaque), files={})


def test_signatures_hold_and_anything_else_does_not(tmp_path: Path) -> None:
    signer, other = Signer(b"s" * 32, name="ci"), Signer(b"t" * 32, name="ci")
    statement = statement_of_results(report_of(tmp_path, *EVERYTHING), files={})
    envelope: Any = json.loads(json.dumps(sign_statement(statement, signer)))
    assert verify_envelope(envelope, signer.verifier) == statement
    forged = copy.deepcopy(envelope)
    forged["payload"] = base64.b64encode(
        base64.b64decode(envelope["payload"]).replace(b"FAILED", b"PASSED")
    ).decode()
    retyped = {**envelope, "payloadType": "text/plain"}
    for broken, key in (
        (forged, signer.verifier),
        (envelope, other.verifier),
        (retyped, signer.verifier),
        ({**envelope, "signatures": []}, signer.verifier),
        ({**envelope, "payload": "%"}, signer.verifier),
        ({}, signer.verifier),
        ({**envelope, "signatures": 3}, signer.verifier),
    ):
        with pytest.raises(InvalidInput, match="signed by the given key"):
            verify_envelope(broken, key)


def test_the_signed_bytes_are_those_of_the_specification() -> None:
    """The example of the DSSE specification, version 1.0."""
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pre_authentication_encoding("http://example.com/HelloWorld", b"hello world") == expected


def test_a_bill_of_materials_is_valid_and_has_every_interval(tmp_path: Path) -> None:
    alone = verdict("log", kind="mask-log", conditions=(), evidence={}, measured=None)
    report = report_of(tmp_path, *EVERYTHING, alone)
    bill = bill_of_materials(report, model=HOSTILE)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
    assert bill == bill_of_materials(report, model=HOSTILE)
    components: Any = bill["components"]
    assert len(components) == 2
    card = next(c for c in components if c["bom-ref"] == STATE)["modelCard"]
    metrics = card["quantitativeAnalysis"]["performanceMetrics"]
    assert len(metrics) == 5
    assert metrics[0] == {
        "type": "robust_accuracy",
        "value": "0.5",
        "slice": "bad; Linf eps 8/255",
        "confidenceInterval": {"lowerBound": "0.4", "upperBound": "0.6"},
    }
    assert {"name": "fgmf:broken:outcome", "value": "error"} in card["properties"]


def test_a_model_card_is_read_by_the_hub_library(tmp_path: Path) -> None:
    report = report_of(tmp_path, *EVERYTHING)
    text = render_model_card(report, model=HOSTILE, dataset="shop-test")
    front = yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))
    assert set(front) == {"model-index"}
    name, results = model_index_to_eval_results(front["model-index"])
    assert name == HOSTILE
    assert {r.metric_type for r in results} == {"robust_accuracy"}
    assert {r.metric_value for r in results} == {0.5}
    assert results[0].dataset_args == {"images": "sha256:" + "cd" * 32}
    card = ModelCard(text, ignore_metadata_errors=False)
    assert len(card.data.eval_results) == len(results) == 5
    assert "<script>" not in card.text
    assert "No gate shows compliance" in text
    assert "EU AI Act, Art. 15(5)" in text
    assert "mask-log" not in text


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.update(schema="other/1"),
        lambda d: d.update(verdicts=[]),
        lambda d: d["verdicts"][0].pop("reason"),
        lambda d: d["verdicts"][0].update(outcome="green"),
        lambda d: d["verdicts"][0].update(evidence=[]),
        lambda d: d["verdicts"][0]["conditions"][0].update(outcome="fail"),
        lambda d: d.update(run=None),
    ],
)
def test_a_damaged_report_is_no_evidence(tmp_path: Path, damage: Any) -> None:
    report_of(tmp_path, verdict())
    path = tmp_path / "report.json"
    document = json.loads(path.read_text())
    damage(document)
    path.write_text(json.dumps(document))
    with pytest.raises(InvalidInput, match="expected a report"):
        read_report(path)


def test_what_is_no_json_is_no_report(tmp_path: Path) -> None:
    for contents in (b"", b"{", b"[" * 100_000, b"\xff\x00", b"3"):
        (tmp_path / "r.json").write_bytes(contents)
        with pytest.raises(InvalidInput, match="expected a report"):
            read_report(tmp_path / "r.json")


def test_the_command_signs_and_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report_of(tmp_path, verdict("bad", Outcome.FAIL))
    key = write_key(tmp_path / "key", name="ci").text()
    (tmp_path / "weights").write_bytes(b"w")

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(application, arguments)

    made = run(
        "evidence",
        "report.json",
        "in-toto",
        "--output",
        "s.json",
        "--key",
        "key",
        "--subject",
        "weights",
        "--url",
        "https://ci.example/1",
    )
    assert made.exit_code == 0, made.stderr
    checked = run("check-evidence", "s.json", "--public-key", key)
    assert (checked.exit_code, checked.stdout.strip()) == (1, "signed; FAILED")
    other = Signer(b"t" * 32, name="ci").verifier.text()
    assert run("check-evidence", "s.json", "--public-key", other).exit_code == 5
    assert run("check-evidence", "weights", "--public-key", key).exit_code == 5
    plain = run("evidence", "report.json", "in-toto", "--output", "p.json")
    assert "not signed" in plain.stdout
    assert run("check-evidence", "p.json", "--public-key", key).exit_code == 5
    for form, option in (("cyclonedx", "--key"), ("model-card", "--subject")):
        assert run("evidence", "report.json", form, "--output", "o", option, "key").exit_code == 2
        done = run(
            "evidence",
            "report.json",
            form,
            "--output",
            f"{form}.txt",
            "--model",
            "shop",
            "--dataset",
            "test",
        )
        assert done.exit_code == 0
        assert "shop" in (tmp_path / f"{form}.txt").read_text()
    assert run("evidence", "none.json", "in-toto", "--output", "o").exit_code == 5
    assert not (tmp_path / "o").exists()


def test_keys_are_text() -> None:
    signer = Signer(b"s" * 32, name="ci")
    key = VerifierKey.from_text(signer.verifier.text())
    assert key.verifies(signer.sign(b"words"), b"words")
    assert not key.verifies(signer.sign(b"words"), b"other words")
    assert not key.verifies(b"short", b"words")


def test_the_map_is_about_every_kind_and_is_documented() -> None:
    page = (ROOT / "docs" / "supply-chain.md").read_text()
    assert {entry.kind for entry in SUPPORT} == set(_OWN_KINDS)
    for entry in SUPPORT:
        assert f"| `{entry.kind}` | {entry.rule} | {entry.part} | {entry.what} |" in page
    words = " ".join(entry.what for entry in SUPPORT).lower()
    assert "compl" not in words
    assert "conform" not in words
