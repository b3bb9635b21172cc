"""`Classifier`: a user's model with what is needed to attack and explain it soundly."""

from __future__ import annotations

import math
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from fgmf.classifier.memory import batched
from fgmf.classifier.metering import CostMeter
from fgmf.classifier.normalization import Normalization
from fgmf.classifier.outputs import find_logits
from fgmf.classifier.state import ModelSnapshot, state_digest, training_modules
from fgmf.errors import GradientUnavailable, InvalidInput, ModelStateChanged
from fgmf.seeding import isolated_randomness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from fgmf.types import Bounds, Images, Labels, Logits

_DTYPES: Final = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}


class Classifier:
    """A model, the range of its images, and its normalisation.

    Images go in within `bounds`; normalisation happens inside, so that an epsilon is always in
    the units of the bounds. Nothing that is done through a classifier changes the model: run
    it inside :meth:`guard`.

    Args:
        model: A ``torch.nn.Module``; any callable from a tensor (n, c, h, w) to an output; or
            the path of an ``.onnx`` or ``.tflite`` file (no gradients). The output may be a
            tensor, a tuple, a mapping, or an object with ``.logits``.
        bounds: Lowest and highest valid pixel value.
        normalize: Mean and deviation per channel that the model expects to have been applied.
        device: ``auto`` (an accelerator if there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        dtype: ``auto`` (that of the parameters) or the name of a floating-point type.
        batch_size: Largest number of images in one pass; halved when memory runs out.
        output: Name or position of the logits in the output, where that is not clear.

    Raises:
        InvalidInput: An argument is not one of these.
        MissingDependency: The model is a file, and the engine that runs it is not installed.
    """

    def __init__(  # noqa: PLR0913 - keyword-only settings of one adapter
        self,
        model: torch.nn.Module | Callable[[torch.Tensor], Any] | str | Path,
        *,
        bounds: Bounds,
        normalize: Normalization | Mapping[str, object] | None = None,
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int = 128,
        output: str | int | None = None,
    ) -> None:
        self.bounds = _checked_bounds(bounds)
        self.normalization = Normalization.of(normalize)
        self.batch_size = _checked_batch_size(batch_size)
        self.output = output
        self.module = model if isinstance(model, torch.nn.Module) else None
        self.device = choose_device(device)
        self.cost_meter = CostMeter()
        self._explicit_dtype = _checked_dtype(dtype)
        self._guard_depth = 0
        self._forward, self.gradient_available, self.name = self._open(model)
        self.dtype = self._explicit_dtype or _dtype_of(self.module)

    def __repr__(self) -> str:
        """The constructor call, without the model's own (long) description."""
        return (
            f"Classifier({self.name}, bounds={self.bounds}, normalize={self.normalization}, "
            f"device={str(self.device)!r}, batch_size={self.batch_size})"
        )

    def raw_output(self, images: Images) -> Any:  # noqa: ANN401 - whatever the model returns
        """Run the model on one batch and return its output as it is.

        The model gets a copy of its own, which it may change in place.

        Args:
            images: (n, c, h, w) within the bounds, on any device; integers become float32.

        Returns:
            The model's output; attached to the graph where `images` requires a gradient.

        Raises:
            GradientUnavailable: A gradient is wanted of a model that has none.

        Cost: n forward passes.
        """
        if images.requires_grad and not self.gradient_available:
            message = (
                f"expected a model with gradients, got the file {self.name}; use attacks "
                "that need no gradient, or gate the PyTorch model"
            )
            raise GradientUnavailable(message)
        with torch.set_grad_enabled(images.requires_grad):
            inputs = images.to(self.device)
            if not inputs.is_floating_point():
                inputs = inputs.to(torch.float32)
            if self.normalization is not None:
                inputs = self.normalization.apply(inputs)
            inputs = inputs.to(self.dtype)
            if inputs.untyped_storage().data_ptr() == images.untyped_storage().data_ptr():
                inputs = inputs.clone()
            self.cost_meter.forward_passes += images.shape[0]
            return self._forward(inputs)

    def logits(self, images: Images) -> Logits:
        """Return the logits of one batch.

        Args:
            images: (n, c, h, w) floating point within the bounds, on any device.

        Returns:
            (n, classes) on the classifier's device, at least float32; attached to the graph
            where `images` requires a gradient.

        Raises:
            InvalidInput: The output holds no logits of that shape.
            GradientUnavailable: A gradient is wanted of a model that has none.

        Cost: n forward passes; n backward passes for each gradient taken through it.
        """
        image_count = images.shape[0]
        output = self.raw_output(images)
        logits = find_logits(output, select=self.output, image_count=image_count).to(self.device)
        if logits.dtype in {torch.float16, torch.bfloat16}:
            logits = logits.float()
        if logits.requires_grad:
            logits.register_hook(lambda _gradient: self._count_backward(image_count))
        return logits

    def logits_in_batches(self, images: Images, *, batch_size: int | None = None) -> Logits:
        """Return the logits of any number of images, without a graph.

        Args:
            images: (n, c, h, w) within the bounds.
            batch_size: Replaces the classifier's batch size for this call.

        Returns:
            (n, classes) on the CPU.

        Raises:
            InvalidInput: No images, no logits in the output, or no memory for one image.

        Cost: n forward passes, more if memory runs out.
        """
        if images.shape[0] == 0:
            raise InvalidInput("expected at least one image, got none")
        parts = batched(
            images.shape[0],
            batch_size or self.batch_size,
            lambda part: self.logits(images[part].detach()).cpu(),
        )
        return torch.cat([logits for _, logits in parts])

    def predict(self, images: Images) -> Labels:
        """Return the predicted class of each image: (n,) int64 on the CPU."""
        return self.logits_in_batches(images).argmax(dim=1)

    def state_digest(self) -> str:
        """Return a digest of everything that the model's outputs depend on.

        An opaque callable has none: its digest says so, names it, and proves nothing.
        """
        if self.module is not None:
            return state_digest(self.module)
        if isinstance(self._source, Path):
            from fgmf.classifier.onnx_backend import file_digest

            return file_digest(self._source)
        return f"opaque:{self.name}"

    @property
    def source(self) -> Path | None:
        """Path of the ``.onnx`` or ``.tflite`` file; None for modules and callables."""
        return self._source

    def training_modules(self) -> list[str]:
        """Names of the submodules that are in train mode outside :meth:`guard`."""
        return [] if self.module is None else training_modules(self.module)

    def around(self, module: torch.nn.Module) -> Classifier:
        """Return a classifier with the same settings and cost meter around another model.

        Args:
            module: Such as a copy with other weights.
        """
        explicit = next((n for n, d in _DTYPES.items() if d is self._explicit_dtype), "auto")
        other = Classifier(
            module,
            bounds=self.bounds,
            normalize=self.normalization,
            device=str(self.device),
            dtype=explicit,
            batch_size=self.batch_size,
            output=self.output,
        )
        other.cost_meter = self.cost_meter
        return other

    @contextmanager
    def guard(self, *, seed: int = 0, tolerate_changes: bool = False) -> Iterator[None]:
        """Hold the model in eval mode, on its device, with frozen parameters; then put it back.

        Args:
            seed: Seeds the global random generators inside, for models that draw from them.
            tolerate_changes: Restore a changed state silently instead of raising.

        Raises:
            ModelStateChanged: The state was changed inside. It has been put back all the same.

        Cost: a copy of the model's state. Randomness: global generators are restored.
        """
        if self._guard_depth:
            yield
            return
        self._guard_depth += 1
        try:
            with isolated_randomness(seed), _steady_kernels(), self._held() as changed:
                yield
        finally:
            self._guard_depth -= 1
        if changed and not tolerate_changes:
            names = ", ".join(changed[:5]) + (", …" if len(changed) > 5 else "")
            message = (
                f"expected a forward pass to leave the model as it is, but it changed {names} "
                "(put back); remove the side effect or judge the model with the "
                "gradient-masking gate"
            )
            raise ModelStateChanged(message)

    @contextmanager
    def _held(self) -> Iterator[list[str]]:
        """Yield a list that holds, after the block, the names of what had changed."""
        changed: list[str] = []
        if self.module is None:
            yield changed
            return
        snapshot = ModelSnapshot(self.module)
        try:
            self.module.to(device=self.device, dtype=self._explicit_dtype)
            self.module.eval()
            for parameter in self.module.parameters():  # a ScriptModule has no requires_grad_
                if not parameter.is_inference():  # one of those could never be thawed
                    parameter.requires_grad_(False)  # noqa: FBT003 - torch's only form
            yield changed
        finally:
            changed.extend(snapshot.restore())

    def _open(self, model: Any) -> tuple[Callable[[torch.Tensor], Any], bool, str]:  # noqa: ANN401 - it is checked here
        self._source: Path | None = None
        if isinstance(model, str | Path):
            self._source = Path(model)
            return _open_file(self._source, self.device), False, self._source.name
        if not callable(model):
            message = (
                "expected model as a torch.nn.Module, a callable, or the path of an .onnx or "
                f".tflite file, got {type(model).__name__}"
            )
            raise InvalidInput(message)
        name = getattr(model, "__name__", type(model).__name__)
        return model, True, name

    def _count_backward(self, image_count: int) -> None:
        self.cost_meter.backward_passes += image_count


def _open_file(path: Path, device: torch.device) -> Callable[[torch.Tensor], Any]:
    if path.suffix.lower() == ".tflite":
        from fgmf.classifier.litert_backend import LiteRtModel

        return LiteRtModel(path)
    from fgmf.classifier.onnx_backend import OnnxModel

    return OnnxModel(path, device=device)


def choose_device(name: str) -> torch.device:
    """Resolve a device name; ``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        InvalidInput: The name is unknown or the device is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        message = f'expected device "auto", "cpu", "cuda", "cuda:N" or "mps", got {name!r}'
        raise InvalidInput(message) from None
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not present.get(device.type, False):
        raise InvalidInput(f'expected a device of this machine, got {name!r}; use "auto" or "cpu"')
    return device


@contextmanager
def _steady_kernels() -> Iterator[None]:
    """Ask cuDNN for the same algorithm every time; put the user's choice back."""
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before


def _dtype_of(module: torch.nn.Module | None) -> torch.dtype:
    parameters = [] if module is None else module.parameters()
    floating = (p.dtype for p in parameters if p.dtype.is_floating_point)
    return next(floating, torch.float32)


def _checked_bounds(bounds: Bounds) -> Bounds:
    message = f"expected bounds as two finite numbers, lower < upper, got {bounds!r}"
    try:
        lower, upper = (float(bound) for bound in bounds)
    except (TypeError, ValueError):
        raise InvalidInput(message) from None
    if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
        raise InvalidInput(message)
    return lower, upper


def _checked_batch_size(batch_size: int) -> int:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise InvalidInput(f"expected batch_size as an integer >= 1, got {batch_size!r}")
    return batch_size


def _checked_dtype(name: str) -> torch.dtype | None:
    if name == "auto":
        return None
    if name not in _DTYPES:
        raise InvalidInput(f'expected dtype "auto" or one of {", ".join(_DTYPES)}, got {name!r}')
    return _DTYPES[name]
