"""Is everything there that the manifest asks for? A join, stream by stream.

    steps     every step from 0 on                       `coverage`, for each mask layer
    samples   every sample, `times` times                the same
    weights   only weights that the manifest allows
    skipped   only for reasons that the manifest states
    lost      nothing

Only the first forward pass of a step counts: a step whose model runs again (an attack) is logged
again, not more complete. A model with several mask layers must have logged all with each of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fgmf.mask_log.coverage import SHOWN, Coverage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fgmf.mask_log.manifest import Expectation
    from fgmf.mask_log.rows import Layout
    from fgmf.types import Json

FORWARD: Final = "forward"
"""Purpose of a pass that a step or a request is about."""
_MOST_LAYERS: Final = 64


class StreamTally:
    """Counts what one stream holds of what it must hold."""

    def __init__(self, expected: Expectation, *, skips: Sequence[str]) -> None:
        """Take what is asked for.

        Args:
            expected: Of the stream.
            skips: Reasons for which passes may be left out.
        """
        self._expected = expected
        self._skips = frozenset(skips)
        self._weights = frozenset(expected.weights)
        self._layers: dict[str, Coverage] = {}
        self.erased = 0
        self.complaints: dict[str, int] = {}

    def take(
        self,
        body: Mapping[str, Any],
        layout: Layout,
        rows: Sequence[bytes | None],
        attempt: int,
        erasures: Sequence[int] = (),
    ) -> None:
        """Take a batch.

        Args:
            body: Of its record.
            layout: Of its rows.
            rows: None for those that were erased.
            attempt: How often the stream was taken up again before.
            erasures: Of each erased row, the number of the erasure.
        """
        self.erased += rows.count(None)
        self.take_skipped(body["skipped"])
        if self._weights and body["weights"] not in self._weights:
            self._complain("masks were made by weights that the manifest does not allow")
        if body["pass"] or body["purpose"] != FORWARD:
            return
        layer = self._layers.get(layout.layer_name) or self._new_layer(layout.layer_name)
        for line in layer.take(body["step"], attempt, layout, rows, erasures):
            self._complain(line)

    def as_document(self) -> dict[str, Json]:
        """Return what was counted as JSON."""
        return {
            "complaints": [[line, count] for line, count in self.complaints.items()],
            "erased": self.erased,
            "layers": [[name, layer.as_document()] for name, layer in self._layers.items()],
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Take up what was counted before.

        Args:
            document: What `as_document` returned, of a tally that was asked for the same.

        Raises:
            ValueError: It is of another tally.
        """
        self.complaints = {str(line): int(count) for line, count in document["complaints"]}
        self.erased = int(document["erased"])
        for name, kept in document["layers"]:
            self._new_layer(str(name)).restore(kept)

    def take_skipped(self, skipped: Mapping[str, int]) -> None:
        """Take passes that were left out, by their reasons."""
        for reason in skipped.keys() - self._skips:
            self._complain(f"passes were left out for {reason!r:.60}, which the manifest names not")

    def missing(self) -> Iterator[str]:
        """Say what is missing, in lines that stand alone."""
        yield from (
            line if count == 1 else f"{line} ({count} times)"
            for line, count in self.complaints.items()
        )
        if not self._layers:
            yield from Coverage(self._expected).missing()
        for name, layer in self._layers.items():
            where = f" (layer {name!r:.60})" if len(self._layers) > 1 else ""
            yield from (f"{line}{where}" for line in layer.missing())

    def _new_layer(self, name: str) -> Coverage:
        """Begin to count for a layer; those that are too many are counted as one."""
        if len(self._layers) >= _MOST_LAYERS:
            self._complain(f"more than {_MOST_LAYERS} mask layers were logged")
            return next(iter(self._layers.values()))
        self._layers[name] = Coverage(self._expected)
        return self._layers[name]

    def _complain(self, line: str) -> None:
        if line in self.complaints or len(self.complaints) < SHOWN:
            self.complaints[line] = self.complaints.get(line, 0) + 1
