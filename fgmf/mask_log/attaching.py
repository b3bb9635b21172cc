"""`MaskLog`: log every mask that the layers of a model apply, for as long as the `with` lasts.

    with MaskLog(path, stream="train-0", manifest=manifest).attach(model) as log:
        for step, (ids, images, labels) in enumerate(loader):
            with log.batch(step=step, sample_ids=ids):
                loss = cross_entropy(model(images), labels)
    print(log.head)                                      # keep a copy of it elsewhere

Each process writes a stream of its own. A pass outside `batch` is logged with running numbers.
"""

from __future__ import annotations

import threading
import warnings
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

from fgmf.errors import InvalidInput, MaskLogUnwritable
from fgmf.mask_log.completeness import FORWARD
from fgmf.mask_log.keeping import keep_head
from fgmf.mask_log.layer_weights import WeightsDigest
from fgmf.mask_log.manifest import Manifest, read_manifest, write_manifest
from fgmf.mask_log.offers import saliency_mask_layers
from fgmf.mask_log.opening import unwritable
from fgmf.mask_log.places import LogDirectory
from fgmf.mask_log.settings import WriterSettings
from fgmf.mask_log.tensors import BatchMaker, weights_of
from fgmf.mask_log.weights import MOST_WEIGHT_BYTES, described_tensors
from fgmf.mask_log.writing import StreamWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    import torch

    from fgmf.mask_log.heads import Head
    from fgmf.mask_log.offers import HookHandle, OfferedMask
    from fgmf.mask_log.signing import Signer
    from fgmf.types import Json


@dataclass(frozen=True, kw_only=True)
class LogContents:
    """What is kept beside digests and grids.

    Attributes:
        inputs: Keep the inputs themselves; by default only their digests.
        weights: ``every pass`` computes the digest of a layer's weights anew for each pass;
            ``once`` at the first pass, for layers that do not change.
        weights_every: Steps between records with the weights themselves, from which masks can be
            made again; None keeps none.
    """

    inputs: bool = False
    weights: Literal["every pass", "once"] = "every pass"
    weights_every: int | None = 1000


@dataclass(kw_only=True)
class _Step:
    """The step, or the request, that passes are about."""

    number: int
    ids: Sequence[int | str]
    passes: dict[tuple[str, str], int] = field(default_factory=dict)


class MaskLog:
    """Logs the masks of a model into one stream of a mask log.

    Attributes:
        path: Directory of the log.
        stream: Name of the stream.
        manifest: What must be logged.
        settings: How it is written.
        contents: What is kept.
        head: Of the whole log when this stream was closed; None before.
    """

    def __init__(  # noqa: PLR0913 - what a user says about a log, each with a default
        self,
        path: Path,
        *,
        stream: str = "main",
        manifest: Manifest | None = None,
        settings: WriterSettings | None = None,
        contents: LogContents | None = None,
        resume: bool = False,
        signer: Signer | None = None,
    ) -> None:
        """Take what is to be logged where; nothing is written yet.

        Args:
            path: Directory of the log; made where it is not there.
            stream: Name of the stream, of its own for each process that writes at once.
            manifest: What must be logged; None takes that of a log that is there, else one that
                fixes nothing, so that the log can be intact and never complete.
            settings: How it is written.
            contents: What is kept.
            resume: Go on with a stream that is there, after a crash or a stop.
            signer: Signs the head (`fgmf.mask_log.signing.Signer`); None leaves it unsigned.
        """
        self.path, self.stream, self.manifest = path, stream, manifest
        self.settings = settings or WriterSettings()
        self.contents = contents or LogContents()
        self.head: Head | None = None
        self._resume, self._signer = resume, signer
        self._layers: dict[str, torch.nn.Module] = {}
        self._handles: list[HookHandle] = []
        self._writer: StreamWriter | None = None
        self._guard = threading.RLock()
        self._step: ContextVar[_Step | None] = ContextVar("mask_log_step", default=None)
        self._left_out: ContextVar[str | None] = ContextVar("mask_log_left_out", default=None)
        self._running = 0
        self._steps = 0
        self._passes = 0
        self._skipped: dict[str, int] = {}
        self._last_batch: tuple[int, int] | None = None
        self._makers: dict[str, BatchMaker] = {}
        self._digests: dict[str, WeightsDigest] = {}
        self._known_weights: dict[str, str] = {}
        self._kept_weights: dict[str, tuple[int, str]] = {}

    def attach(self, model: torch.nn.Module) -> Self:
        """Choose the model whose masks are logged.

        Args:
            model: Any module with layers that offer masks.

        Raises:
            InvalidInput: It has none.
        """
        self._layers |= saliency_mask_layers(model)
        return self

    def __enter__(self) -> Self:
        """Begin the stream, and have masks offered.

        Raises:
            MaskLogUnwritable: The directory cannot be written, and the caller does not go on.
            InvalidInput: Somebody writes the stream, or it is there already.
        """
        try:
            self._writer = self._opened()
        except MaskLogUnwritable as error:
            if self.settings.on_error == "raise":
                raise
            warnings.warn(f"nothing is logged: {error}", stacklevel=2)
            return self
        try:
            for name, layer in self._layers.items():
                self._digests[name] = WeightsDigest(layer=layer)
                self._makers[name] = BatchMaker(name=name, inputs=self.contents.inputs)
                register: Any = layer.register_saliency_mask_hook
                self._handles.append(register(self._hook(name)))
        except BaseException:
            self._detach()
            self._writer.close("could not attach")
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the stream, and take the hooks off.

        Raises:
            MaskLogUnwritable: The end cannot be written, and the caller does not go on.
        """
        self._detach()
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            if self._skipped:
                writer.append("skipped", {"skipped": dict(self._skipped)})
                self._skipped = {}
            writer.close("closed" if kind is None else f"stopped by {kind.__name__}")
            self.head = keep_head(writer.directory, writer.manifest, signer=self._signer)
        except (MaskLogUnwritable, OSError) as failure:
            writer.abandon()
            if self.settings.on_error == "raise" and kind is None:
                if isinstance(failure, OSError):
                    raise unwritable(failure, writer.directory) from failure
                raise
            warnings.warn(f"the mask log has no end: {failure}", stacklevel=2)

    @contextmanager
    def batch(self, *, step: int, sample_ids: Sequence[int | str] | torch.Tensor) -> Iterator[None]:
        """Say which step and which samples the passes inside are about.

        Args:
            step: Number of the step or of the request, counted by the caller.
            sample_ids: One for each sample, whole numbers or texts, or a tensor of whole numbers.

        Raises:
            InvalidInput: The step is no whole number from 0.
        """
        if type(step) is not int or step < 0:
            raise InvalidInput(f"expected a step as a whole number >= 0, got {step!r:.40}")
        ids: Any = sample_ids
        token = self._step.set(
            _Step(number=step, ids=ids.tolist() if hasattr(ids, "tolist") else list(ids))
        )
        try:
            yield
        finally:
            self._step.reset(token)

    @contextmanager
    def leave_out(self, reason: str) -> Iterator[None]:
        """Log no masks inside; how many passes were left out for `reason` is logged.

        Args:
            reason: Such as ``attack``; the log is complete only if the manifest names it.

        Raises:
            InvalidInput: The reason is no text, or empty.
        """
        if not isinstance(reason, str) or not reason:
            raise InvalidInput(f"expected a text as the reason for leaving out, got {reason!r:.40}")
        token = self._left_out.set(reason)
        try:
            yield
        finally:
            self._left_out.reset(token)

    def note(self, facts: Mapping[str, Json]) -> None:
        """Log something that a reader should know: consent, another model, a changed setting.

        Raises:
            InvalidInput: It is not JSON of finite numbers.
            MaskLogUnwritable: It could not be written, and the caller does not go on.
        """
        if self._writer is not None:
            self._writer.append("note", {"note": dict(facts)})

    def predicted(self, outputs: torch.Tensor) -> None:
        """Log what the model said about the samples of the last batch that was logged.

        Args:
            outputs: (n, classes) of logits, or (n,) of class indices.

        Raises:
            InvalidInput: Another shape, or not as many as the batch has samples.
            MaskLogUnwritable: It could not be written, and the caller does not go on.
        """
        classes = outputs.argmax(dim=1) if outputs.ndim == 2 else outputs
        with self._guard:
            if self._writer is None or self._last_batch is None:
                return
            number, count = self._last_batch
            if classes.shape != (count,):
                got = tuple(outputs.shape)
                raise InvalidInput(f"expected outputs for {count} samples, got shape {got}")
            said: list[Json] = [int(value) for value in classes.tolist()]
            self._writer.append("predictions", {"classes": said, "of": number})

    def checkpoint(self) -> None:
        """Have everything brought to the disk, and a checkpoint written.

        Raises:
            MaskLogUnwritable: It could not be written.
        """
        if self._writer is not None:
            self._writer.checkpoint()

    def _opened(self) -> StreamWriter:
        directory = LogDirectory(path=self.path)
        try:
            directory.path.mkdir(parents=True, exist_ok=True)
            if self.manifest is None and directory.manifest.exists():
                self.manifest = read_manifest(directory)
            self.manifest = self.manifest or Manifest()
            write_manifest(directory, self.manifest)
        except OSError as error:
            raise unwritable(error, directory) from error
        return StreamWriter(
            directory, self.stream, self.manifest, settings=self.settings, resume=self._resume
        )

    def _detach(self) -> None:
        handles, self._handles = self._handles, []
        for handle in handles:
            handle.remove()

    def _hook(self, name: str) -> Callable[[OfferedMask], None]:
        def take(offer: OfferedMask) -> None:
            with self._guard:
                self._take(name, offer)

        return take

    def _take(self, name: str, offer: OfferedMask) -> None:
        writer = self._writer
        if writer is None:
            return
        reason = self._left_out.get() or self._sampled_out(writer)
        if reason is not None:
            self._skipped[reason] = self._skipped.get(reason, 0) + 1
            return
        step = self._step.get()
        counted = step is None
        if step is None:
            count = len(offer.inputs)
            step = _Step(number=self._steps, ids=range(self._running, self._running + count))
            self._running, self._steps = self._running + count, self._steps + 1
        purpose = str(getattr(offer, "purpose", FORWARD))
        place = step.passes.get((name, purpose), 0)
        step.passes[name, purpose] = place + 1
        batch = self._makers[name].make(offer, step.ids)
        skipped, self._skipped = self._skipped, {}
        body: dict[str, Json] = {
            "ids": "counted" if counted else "given",
            "pass": place,
            "purpose": purpose,
            "skipped": dict(skipped),
            "step": step.number,
            "training": bool(getattr(offer, "training", self._layers[name].training)),
            "weights": self._weights(writer, name, step.number),
        }
        try:
            written = writer.append_batch(batch, body)
        except BaseException:
            self._skipped = skipped
            raise
        if written is None:
            self._skipped = skipped
        self._last_batch = None if written is None else (written, len(batch.ids))

    def _sampled_out(self, writer: StreamWriter) -> str | None:
        number, self._passes = self._passes, self._passes + 1
        return "sampling" if number % writer.manifest.every else None

    def _weights(self, writer: StreamWriter, name: str, step: int) -> str:
        """Return the digest of a layer's weights; log the weights where that is due."""
        once = self.contents.weights == "once"
        if once and name in self._known_weights:
            return self._known_weights[name]
        digest = self._digests[name].now()
        self._known_weights[name] = digest
        every = self.contents.weights_every
        if every is None:
            return digest
        last, kept = self._kept_weights.get(name, (-every, ""))
        if kept != digest and step - last >= every:
            tensors = weights_of(self._layers[name])
            body: dict[str, Json] = {
                "digest": digest,
                "layer": name,
                "step": step,
                "tensors": described_tensors(tensors),
            }
            data = b"".join(tensor.values for tensor in tensors)
            if len(data) > MOST_WEIGHT_BYTES:
                message = f"expected at most {MOST_WEIGHT_BYTES} bytes of weights in layer {name!r}"
                raise InvalidInput(f"{message}, got {len(data)}; log with weights_every=None")
            if writer.append_bytes("weights", data, body) is not None:
                self._kept_weights[name] = (step, digest)
        return digest
