"""Spot checks: is a mask that was logged the one that the layer makes of that input?

    while the log is read:  of all samples whose input and weights the log keeps, k at random
    afterwards:             layer with these weights, that input -> grid or mask -> the same?

Samples whose input or weights are not kept cannot be checked. How many could be is reported, and
where none can be, nothing was checked.
"""

from __future__ import annotations

import importlib
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fgmf.errors import FactoryFailed
from fgmf.mask_log.masks import GRID, INPUT, MASK
from fgmf.mask_log.packs import decoded
from fgmf.mask_log.reading import PackReader
from fgmf.mask_log.weights import stored_tensors

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from fgmf.mask_log.places import LogDirectory
    from fgmf.mask_log.records import Record
    from fgmf.mask_log.rows import ArrayForm
    from fgmf.mask_log.streams import ObservedBatch

TOLERANCE: Final = 1e-5
"""Another batch size or processor rounds otherwise; a mask that was made otherwise differs more."""


class KeptSample(NamedTuple):
    """A sample whose input and weights the log keeps."""

    stream: str
    record: int
    row: int
    weights: str
    training: bool
    forms: tuple[ArrayForm, ...]
    values: tuple[bytes, ...]
    same_input: bool = True


@dataclass(kw_only=True)
class SampleChoice:
    """Chooses samples to check, while the log is read.

    Attributes:
        directory: The log.
        count: How many.
        seed: Fixes which.
        samples: Samples of the log.
        resolvable: Samples among them whose input and weights are kept.
        chosen: The choice so far: each resolvable one is as likely to be in it.
    """

    directory: LogDirectory
    count: int
    seed: int
    samples: int = 0
    resolvable: int = 0
    chosen: list[KeptSample] = field(default_factory=list)
    _weights: dict[str, tuple[str, int, Record]] = field(default_factory=dict)
    _draw: random.Random = field(init=False)

    def __post_init__(self) -> None:
        """Begin the draws."""
        self._draw = random.Random(self.seed)  # noqa: S311 - a choice that can be repeated

    def take_weights(self, stream: str, record: Record, segment: int) -> None:
        """Remember where weights are."""
        self._weights[record.body["digest"]] = (stream, segment, record)

    def take(self, batch: ObservedBatch) -> None:
        """Choose among the samples of a batch."""
        names = {form.name for form in batch.layout.arrays}
        body = batch.record.body
        kept = INPUT in names and body["weights"] in self._weights
        for position, row in enumerate(batch.rows):
            self.samples += 1
            if row is None or not kept:
                continue
            self.resolvable += 1
            place = self._place()
            if place is not None:
                self.chosen[place : place + 1] = [self._sample(batch, position, row)]

    def tensors(self, digest: str) -> dict[str, torch.Tensor]:
        """Return the weights of a digest."""
        import torch

        stream, segment, record = self._weights[digest]
        pack = PackReader(self.directory, stream, segment)
        try:
            start, _, end = record.body["pack"]
            tensors = stored_tensors(record.body["tensors"], pack.read(start, end - start))
        finally:
            pack.close()
        return {form.name: _tensor(torch, form, values) for form, values in tensors}

    def _place(self) -> int | None:
        """Where the next sample goes (algorithm R); None where it is not chosen."""
        if self.resolvable <= self.count:
            return len(self.chosen)
        place = self._draw.randrange(self.resolvable)
        return place if place < self.count else None

    def _sample(self, batch: ObservedBatch, position: int, row: bytes) -> KeptSample:
        layout, body = batch.layout, batch.record.body
        references = layout.references(row)
        values = [
            decoded(form, reference, batch.pack.read(reference.offset, reference.length))
            for form, reference in zip(layout.arrays, references, strict=True)
        ]
        return KeptSample(
            stream=batch.stream,
            record=batch.record.seq,
            row=position,
            weights=body["weights"],
            training=body["training"],
            forms=layout.arrays,
            values=tuple(values),
            same_input=any(
                form.name == INPUT and reference.digest == layout.input_digest(row)
                for form, reference in zip(layout.arrays, references, strict=True)
            ),
        )


def check_samples(choice: SampleChoice, factory: str) -> list[tuple[KeptSample, str]]:
    """Make the masks of the chosen samples again.

    Args:
        choice: The samples.
        factory: ``package.module:function`` that returns the layer; its weights are replaced.

    Returns:
        The samples whose masks are others, and how.

    Raises:
        FactoryFailed: The layer cannot be made, or does not take the weights.

    Cost: one forward pass of the layer per sample.
    """
    import torch

    layer = _layer(factory)
    offers: list[Any] = []
    handle = layer.register_saliency_mask_hook(offers.append)
    wrong = []
    try:
        with torch.no_grad():
            for sample in choice.chosen:
                if not sample.same_input:
                    wrong.append((sample, "the input that is kept is not that of its digest"))
                    continue
                _load(layer, choice.tensors(sample.weights), factory)
                layer.train(sample.training)
                offers.clear()
                arrays = {
                    form.name: _tensor(torch, form, values)
                    for form, values in zip(sample.forms, sample.values, strict=True)
                }
                layer(arrays[INPUT][None])
                difference = _difference(offers, arrays)
                if not difference <= TOLERANCE:
                    wrong.append((sample, f"differs by {difference:.3g}"))
    finally:
        handle.remove()
    return wrong


def _difference(offers: list[Any], arrays: dict[str, torch.Tensor]) -> float:
    if not offers:
        return float("inf")
    offer = offers[-1]
    logged = arrays[GRID] if GRID in arrays else arrays[MASK].float()
    made = (offer.coarse if GRID in arrays else offer.saliency_mask)[0]
    if made.shape != logged.shape:
        return float("inf")
    return float((made.float() - logged.float()).abs().max())


def _layer(factory: str) -> Any:  # noqa: ANN401 - a user's layer
    module, _, name = factory.partition(":")
    try:
        make: Callable[[], Any] = getattr(importlib.import_module(module), name)
        layer = make()
    except Exception as error:
        raise FactoryFailed(
            f"layer factory {factory!r}: {type(error).__name__}: {error}"
        ) from error
    if not callable(getattr(layer, "register_saliency_mask_hook", None)):
        got = type(layer).__name__
        raise FactoryFailed(f"expected a mask layer from layer factory {factory!r}, got {got}")
    return layer


def _load(layer: Any, tensors: dict[str, torch.Tensor], factory: str) -> None:  # noqa: ANN401 - as above
    try:
        layer.load_state_dict(tensors)
    except Exception as error:
        message = f"layer factory {factory!r} makes a layer that does not take the weights"
        raise FactoryFailed(f"{message}: {error}") from error


def _tensor(torch_: Any, form: ArrayForm, values: bytes) -> torch.Tensor:  # noqa: ANN401 - the module
    if form.dtype == "bits":
        import numpy as np

        bits = np.unpackbits(np.frombuffer(values, dtype=np.uint8), count=form.value_count)
        tensor: torch.Tensor = torch_.from_numpy(bits).reshape(form.shape)
        return tensor
    flat: torch.Tensor = torch_.frombuffer(bytearray(values), dtype=getattr(torch_, form.dtype))
    return flat.reshape(form.shape)
