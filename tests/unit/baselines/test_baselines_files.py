"""Baseline files: what was written is read, and nothing that was damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fgmf.baselines import baseline_path, encode_baseline, load_baseline
from fgmf.canonical import json_digest
from fgmf.errors import InvalidBaseline, InvalidInput

if TYPE_CHECKING:
    from tests.unit.baselines.conftest import MakeMeasured, MakeVerdict


@pytest.fixture
def saved(tmp_path: Path, measured_of: MakeMeasured) -> Path:
    path = baseline_path(tmp_path, "robust")
    path.write_bytes(encode_baseline(measured_of()))
    return path


def _document(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def _forge(path: Path, document: dict[str, Any]) -> None:
    """Write a document as a forger would, with a seal that fits."""
    rest = {key: value for key, value in document.items() if key != "digest"}
    path.write_text(json.dumps({**rest, "digest": json_digest(rest)}))


def test_what_was_written_is_read(saved: Path, measured_of: MakeMeasured) -> None:
    assert load_baseline(saved) == measured_of()
    assert saved.name == "robust.json"


def test_the_same_measurement_has_the_same_bytes(measured_of: MakeMeasured) -> None:
    contents = encode_baseline(measured_of())
    assert contents == encode_baseline(measured_of())
    assert contents.count(b"\n") == 1
    assert contents != encode_baseline(measured_of("rrrrrrbbwr"))


def test_layout_does_not_matter_to_the_seal(saved: Path) -> None:
    saved.write_text(json.dumps(_document(saved), indent=4))
    assert load_baseline(saved).gate == "robust"


@pytest.mark.parametrize(
    "gate",
    [
        *("../../etc/passwd", "a/../../b", "/etc/passwd", "..", ".", "con", "a\\b", "A", "a\0b"),
        *("tests/test_gate.py/test_x", "~", "\n", "x" * 500, ".json", "\ud800"),
    ],
)
def test_no_name_leads_out_of_the_directory(gate: str, tmp_path: Path) -> None:
    path = baseline_path(tmp_path, gate)
    assert path.resolve().parent == tmp_path.resolve()
    path.write_text("")
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_names_do_not_share_a_file() -> None:
    names = ["a/b", "a_b", "A/b", "a//b", "a", "A", "a.json"]
    assert len({baseline_path(Path(), name).name.lower() for name in names}) == len(names)


DAMAGES: dict[str, Any] = {
    "empty": b"",
    "cut": lambda text: text[: len(text) // 2],
    "no text": b"\xff\xfe\x00",
    "list": b"[]",
    "number": b"3",
    "NaN": lambda text: text.replace(b'"measured":0.6', b'"measured":NaN'),
    "deep": b"[" * 100_000,
    "key twice": lambda text: text.replace(b'{"conf', b'{"gate":"robust","conf', 1),
    "long integer": lambda text: text.replace(b'"measured":0.6', b'"measured":' + b"9" * 9000),
    "changed outcome": lambda text: text.replace(b"rrrrrrbbww", b"rrrrrrbbwr"),
    "swapped outcomes": lambda text: text.replace(b"rrrrrrbbww", b"brrrrrrbww"),
    "another model": lambda text: text.replace(b"sha256:1", b"sha256:2"),
    "changed measured": lambda text: text.replace(b'"measured":0.6', b'"measured":0.7'),
    "conflict markers": lambda text: b"<<<<<<< HEAD\n" + text + b"=======\n" + text,
    "other format": lambda text: text.replace(b"fgmf-baseline/1", b"fgmf-baseline/2"),
    "no format": lambda text: text.replace(b'"schema":"fgmf-baseline/1"', b'"schema":null'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused(damage: str, saved: Path) -> None:
    make = DAMAGES[damage]
    before = saved.read_bytes()
    saved.write_bytes(make(before) if callable(make) else make)
    assert saved.read_bytes() != before
    with pytest.raises(InvalidBaseline, match=r"robust\.json: \d+ problem"):
        load_baseline(saved)


FORGED: dict[str, Any] = {
    "unknown key": {"extra": 1},
    "no gate": {"gate": None},
    "empty gate": {"gate": ""},
    "gate as number": {"gate": 3},
    "another gate": {"gate": "other"},
    "escaping gate": {"gate": "../robust"},
    "outcome": {"outcome": "great"},
    "undecided": {"outcome": "inconclusive"},
    "no configuration": {"configuration": {}},
    "other configuration": {"configuration": {"kind": "robustness"}},
    "measured": {"measured": 0.9},
    "measured nothing": {"measured": None},
    "measured above one": {"measured": 1.5},
    "measured as text": {"measured": "0.6"},
    "interval": {"interval": {"lower": 0.9, "upper": 0.1, "confidence": 0.95, "method": "x"}},
    "interval parts": {"interval": {"lower": 0.1}},
    "seed as number": {"seed": 3},
    "seed": {"seed": "-3"},
    "versions": {"versions": {"torch": 2}},
    "model": {"model_digest": None},
    "data digest": {"data_digest": "sha256:0"},
    "data digest type": {"data_digest": 0},
    "configuration digest": {"configuration_digest": "sha256:0"},
}
FORGED_IMAGES: dict[str, Any] = {
    "outcomes": {"outcomes": "rrrrrrbbwx"},
    "no outcomes": {"outcomes": ""},
    "undecided": {"outcomes": "rrrrrrbbwu"},
    "failed": {"outcomes": "rrrrrrbbwf"},
    "too few": {"outcomes": "rrrrrr"},
    "keys": {"keys": ["0" * 16]},
    "long keys": {"keys": ["0" * 17] * 10},
    "upper keys": {"keys": ["A" * 16] * 10},
    "line end": {"keys": ["0" * 15 + "\n"] * 10},
    "negative": {"indices": [-1, *range(1, 10)]},
    "repeated": {"indices": [0] * 10},
    "fractions": {"indices": [0.5] * 10},
    "labels": {"labels": [0]},
    "text labels": {"labels": ["0"] * 10},
    "unknown key": {"more": []},
}


@pytest.mark.parametrize("change", FORGED)
def test_a_file_with_a_fitting_seal_is_checked_all_the_same(change: str, saved: Path) -> None:
    _forge(saved, {**_document(saved), **FORGED[change]})
    with pytest.raises(InvalidBaseline) as caught:
        load_baseline(saved)
    assert not any(problem.startswith("digest") for problem in caught.value.problems)


@pytest.mark.parametrize("change", FORGED_IMAGES)
def test_images_are_checked_all_the_same(change: str, saved: Path) -> None:
    document = _document(saved)
    _forge(saved, {**document, "images": {**document["images"], **FORGED_IMAGES[change]}})
    with pytest.raises(InvalidBaseline):
        load_baseline(saved)


@pytest.mark.parametrize("key", ["gate", "images", "configuration", "seed", "digest", "measured"])
def test_a_missing_key_is_named(key: str, saved: Path) -> None:
    document = _document(saved)
    del document[key]
    saved.write_text(json.dumps(document))
    with pytest.raises(InvalidBaseline, match=f"{key}: "):
        load_baseline(saved)


def test_every_problem_is_told_at_once(saved: Path) -> None:
    document = {**_document(saved), "gate": 3, "measured": 2, "seed": 4, "more": 1}
    saved.write_text(json.dumps(document))
    with pytest.raises(InvalidBaseline) as caught:
        load_baseline(saved)
    text = "; ".join(caught.value.problems)
    assert [word in text for word in ("digest", "gate", "measured", "seed", "more")] == [True] * 5


def test_a_link_is_not_followed(saved: Path) -> None:
    saved.rename(saved.with_name("real.json"))
    saved.symlink_to("real.json")
    with pytest.raises(InvalidBaseline, match="got a link"):
        load_baseline(saved)


def test_a_huge_file_is_not_read(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fgmf.baselines.files._LARGEST_FILE", 100)
    with pytest.raises(InvalidBaseline, match="at most 100 bytes"):
        load_baseline(saved)


@pytest.mark.parametrize(
    "evidence", [{"images": None}, {"images": {}}, {"configuration": None}, {"images": "rrr"}]
)
def test_a_verdict_without_its_images_cannot_be_compared(
    evidence: dict[str, Any], verdict_of: MakeVerdict
) -> None:
    from fgmf.baselines import measured_gate

    with pytest.raises(InvalidInput, match="cannot be compared"):
        measured_gate(verdict_of("rb", evidence=evidence))
