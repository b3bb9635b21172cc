"""Pictures in evidence: shown where they are PNG, escaped, bounded, and kept out of the JSON."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

import pytest

from fgmf.reporting import galleries
from fgmf.reporting.galleries import galleries_of
from fgmf.verdict import Outcome, Verdict
from tests.unit.reporting.test_reporting_page import HOSTILE, PIXEL, Elements, gate, page_of

TILE = base64.b64encode(PIXEL).decode()


def with_pictures(*pictures: Any) -> Verdict:
    verdict = gate("x", Outcome.FAIL)
    return dataclasses.replace(verdict, evidence={**verdict.evidence, "pictures": list(pictures)})


def picture(*tiles: str, **changed: Any) -> dict[str, Any]:
    row = {"caption": "#3: 1 → 2", "tiles": list(tiles)}
    columns = [f"column {at}" for at in range(len(tiles))]
    return {"title": "T", "hint": "H", "columns": columns, "rows": [row], "left_out": 2} | changed


def test_tiles_are_shown_with_their_words() -> None:
    text = page_of(with_pictures(picture(TILE, TILE)))
    assert text.count(f"data:image/png;base64,{TILE}") == 2
    for words in ("#3: 1 → 2", ">column 0<", ">column 1<", "2 more had no room"):
        assert words in text
    assert "\n &#34;pictures&#34;" not in text


@pytest.mark.parametrize(
    "wrong",
    [
        picture("not base64!"),
        picture(base64.b64encode(b"<svg onload=alert(1)>").decode()),
        picture(TILE, columns=["a", "b"]),
        picture(),
        {"rows": "none"},
        "text",
    ],
)
def test_what_is_no_picture_is_left_out(wrong: Any) -> None:
    assert galleries_of([with_pictures(wrong)]) == [[]]
    assert "data:image" not in page_of(with_pictures(wrong))


def test_words_of_others_are_escaped() -> None:
    hostile = picture(TILE, title=HOSTILE, hint=HOSTILE, columns=[HOSTILE])
    hostile["rows"][0]["caption"] = HOSTILE
    text = page_of(with_pictures(hostile))
    assert "<script" not in text
    assert "\x1b" not in text
    assert set(Elements(text).names) & {"script", "iframe", "object"} == set()


def test_the_page_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(galleries, "MOST_CHARACTERS", 3 * len(TILE))
    many = picture(TILE)
    many["rows"] *= 5
    ((first,), second) = galleries_of([with_pictures(many), with_pictures(many)])
    assert (len(first.rows), first.left_out) == (3, 2 + 2)
    assert second == []
