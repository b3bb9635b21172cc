from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from mask_logs import batch_of, body_of, write_log
from typer.testing import CliRunner

from fgmf.cli.application import application
from fgmf.errors import InvalidGateFile, InvalidInput
from fgmf.gates import MaskLogGate
from fgmf.mask_log import LogOutcome, VerifySettings, verify_log
from fgmf.mask_log.keeping import keep_head
from fgmf.mask_log.signing import Signer, VerifierKey, is_signed, write_key
from fgmf.mask_log.writing import StreamWriter
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    write_key(tmp_path / "key", name="shop")
    return Signer.from_file(tmp_path / "key")


def test_a_signature_is_by_its_key_over_its_text(signer: Signer) -> None:
    key, line = signer.verifier, signer.line("text\n")
    assert is_signed("text\n", [line], key)
    assert not is_signed("Text\n", [line], key)
    assert not is_signed("text\n", [], key)
    other = Signer(bytes(32), name="shop")
    assert not is_signed("text\n", [line], other.verifier)
    assert not is_signed("text\n", [other.line("text\n")], key)
    assert is_signed("text\n", [other.line("text\n"), "\u2014 shop x", line], key)
    assert VerifierKey.from_text(key.text()) == key


@pytest.mark.parametrize(
    "change", [lambda t: t[:-2], lambda t: "x" + t, lambda t: t.upper(), lambda t: ""]
)
def test_a_damaged_key_is_refused(signer: Signer, change: object) -> None:
    text = change(signer.verifier.text())
    with pytest.raises(InvalidInput, match="verifier key"):
        VerifierKey.from_text(text)
    with pytest.raises(InvalidGateFile):
        MaskLogGate(path="log", public_key=text)


def test_a_signed_log_passes_with_the_key(tmp_path: Path, signer: Signer) -> None:
    log, key = write_log(tmp_path / "log"), signer.verifier.text()
    gate = MaskLogGate(path=str(log.path), public_key=key)
    unsigned = gate.check()
    assert unsigned.outcome is Outcome.INCONCLUSIVE
    assert "no head of the log is signed" in unsigned.reason
    keep_head(log.directory, log.manifest, signer=Signer(bytes(32), name="other"))
    assert gate.check().outcome is Outcome.INCONCLUSIVE
    keep_head(log.directory, log.manifest, signer=signer)
    assert gate.check().outcome is Outcome.PASS
    report = verify_log(log.path, VerifySettings(public_key=key))
    assert (report.anchor, report.signer) == ("signature", "shop")
    with pytest.raises(InvalidGateFile, match="either"):
        MaskLogGate(path="log", public_key=key, head=log.head)


def test_a_signature_covers_what_was_there(tmp_path: Path, signer: Signer) -> None:
    log = write_log(tmp_path / "log")
    keep_head(log.directory, log.manifest, signer=signer)
    writer = StreamWriter(log.directory, "train-0", log.manifest, resume=True)
    writer.append_batch(batch_of(range(2)), body_of(0))
    writer.close()
    keep_head(log.directory, log.manifest)
    report = verify_log(log.path, VerifySettings(public_key=signer.verifier.text()))
    assert (report.outcome, report.anchor) == (LogOutcome.COMPLETE, "earlier signature")
    gate = MaskLogGate(path=str(log.path), public_key=signer.verifier.text())
    assert gate.check().outcome is Outcome.INCONCLUSIVE


def test_a_damaged_signature_line_is_found(tmp_path: Path, signer: Signer) -> None:
    log = write_log(tmp_path / "log")
    keep_head(log.directory, log.manifest, signer=signer)
    (path,) = log.directory.heads.iterdir()
    text = path.read_text()
    path.write_text(text.replace("\u2014 ", "- "))
    assert verify_log(log.path).outcome is LogOutcome.TAMPERED
    path.write_text(text.replace(" shop ", " shop A"))
    settings = VerifySettings(public_key=signer.verifier.text())
    assert verify_log(log.path, settings).anchor == "none"


def test_a_key_that_others_can_read_is_refused(tmp_path: Path, signer: Signer) -> None:
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(InvalidInput, match="chmod 600"):
        Signer.from_file(tmp_path / "key")
    with pytest.raises(FileExistsError):
        write_key(tmp_path / "key", name="shop")


def test_the_commands(tmp_path: Path) -> None:
    log, runner = write_log(tmp_path / "log"), CliRunner()
    made = runner.invoke(application, ["log", "keygen", str(tmp_path / "k"), "--name", "shop"])
    assert made.exit_code == 0, made.output
    key = made.output.strip()
    done = runner.invoke(application, ["log", "sign", str(log.path), "--key", str(tmp_path / "k")])
    assert done.output.strip() == log.head
    command = ["log", "verify", str(log.path), "--public-key", key]
    assert runner.invoke(application, command).exit_code == 0
