"""The page on teams: every snippet of it runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "teams.md").read_text()
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_every_snippet_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, straight through: what one defines the next ones use."""
    monkeypatch.chdir(tmp_path)
    images, labels = torch.rand(3, 1, 28, 28), torch.tensor([1, 2, 3])
    names: dict[str, Any] = {"images": images, "labels": labels}
    names["requests"] = [([0, 1, 2], images), ([3, 4, 5], images)]
    exec(compile(SNIPPETS[0], "docs/teams.md", "exec"), names)  # noqa: S102 - our own page
    names["older_logits"] = names["team"].agent_logits(images)
    for number, snippet in enumerate(SNIPPETS[1:], 1):
        exec(compile(snippet, f"docs/teams.md, snippet {number}", "exec"), names)  # noqa: S102 - as above
    assert names["scores"].shape == (3, 10)
    assert names["compromised"].shape == names["with_stale_vit"].shape == (3, 10)
    assert names["found"].right_after.shape == (3,)
    assert (tmp_path / "runs" / "7" / "mask-log" / "streams" / "hybrid").is_dir()
    assert len(SNIPPETS) == 5
