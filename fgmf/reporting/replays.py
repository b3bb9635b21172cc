"""A replay in words: what its two halves found, and how far it was the recorded run again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.reporting.evidence import integer_of, text_of, texts_of
from fgmf.reporting.text import shown_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.verdict import Verdict


def describe_replay(verdict: Verdict) -> Iterator[str]:
    """Say what both halves of a replay found.

    Args:
        verdict: Of any gate kind.

    Yields:
        Printable lines; none if the verdict is no replay.
    """
    evidence, count = verdict.evidence, verdict.image_count
    still = integer_of(evidence, "still_broken")
    if still is None:
        return
    yield f"saved examples: {still} of {count} still break the model"
    again = integer_of(evidence, "broken_again")
    identical = integer_of(evidence, "identical_examples")
    if again is None:
        yield f"repeated attack: none ({text_of(evidence, 'not_repeated')})"
    else:
        seed = integer_of(evidence, "repeat_seed")
        recorded = integer_of(evidence, "gate_seed")
        own = "the recorded seed" if seed == recorded else f"seed {seed} (recorded: {recorded})"
        yield (
            f"repeated attack: breaks {again} of {shown_count(count, 'image')} with {own}, "
            f"{identical or 0} by the identical example"
        )
    same = {True: "the recorded one", False: "another than the recorded one"}
    words = "perhaps the recorded one: it has no digest that would tell"
    answer = evidence.get("same_model")
    yield f"model: {same[answer] if isinstance(answer, bool) else words}"
    changed = texts_of(evidence, "changed")
    if changed:
        yield f"changed since: {', '.join(changed)}"
