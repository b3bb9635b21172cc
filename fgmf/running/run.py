"""`GateRun`: the gates of one gate file, with models and data loaded once."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from fgmf.errors import FactoryFailed, InvalidInput
from fgmf.gates.robustness import RobustnessGate
from fgmf.gates.robustness_attacks import surrogate_names
from fgmf.gates.specification import RunContext, needs_images
from fgmf.running.factories import call_factory, importing_from
from fgmf.running.joint import load_in_all, local_device
from fgmf.running.measuring import gate_name, limit_threads, one_line, run_gate
from fgmf.running.origin import named_from_evidence

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fgmf.classifier import Classifier
    from fgmf.datasets import Samples
    from fgmf.gatefile import DataEntry, GateFile, ModelEntry
    from fgmf.gates.specification import Gate, Progress
    from fgmf.processes import Processes
    from fgmf.verdict import Verdict

_Loaded = TypeVar("_Loaded")


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What the caller decides about a run; None leaves it to the gate file.

    Attributes:
        seed: Seed of the run.
        device: Device of every model.
        batch_size: Batch size of every model.
        thread_count: Most threads that torch may use; None leaves torch alone.
        root: Directory that artifact paths are given relative to; None is the gate file's.
        failures_directory: Where evidence of failures is written; None writes nothing.
        on_progress: Called between batches.
        reproduce: Command that runs the gate of that name alone.
        processes: Processes that share each gate's work; None works alone.
        cache_directory: Where outcomes per image are kept between runs; None keeps none.
        notify: Told what the user should know about the cache.
    """

    seed: int | None = None
    device: str | None = None
    batch_size: int | None = None
    thread_count: int | None = None
    root: Path | None = None
    failures_directory: Path | None = None
    on_progress: Callable[[Progress], None] | None = None
    reproduce: Callable[[str], str] = field(default=lambda _name: "")
    processes: Processes | None = None
    cache_directory: Path | None = None
    notify: Callable[[str], None] = field(default=lambda _message: None)


class GateRun:
    """One run of the gates of a gate file.

    Models and data are loaded lazily and once; a factory that failed is not called again, every
    gate that needs it is an ERROR with the same reason.
    """

    def __init__(self, gate_file: GateFile, settings: RunSettings | None = None) -> None:
        """Take the gate file; nothing is loaded yet."""
        self.gate_file = gate_file
        self.settings = settings or RunSettings()
        self._classifiers: dict[str, Classifier | Exception] = {}
        self._samples: Samples | Exception | None = None

    @property
    def seed(self) -> int:
        """Seed of the run: the caller's, else the gate file's."""
        return self.gate_file.seed if self.settings.seed is None else self.settings.seed

    def run(self, gate: Gate) -> Verdict:
        """Measure one gate.

        Args:
            gate: One of the gate file's, or any other.

        Returns:
            Its verdict; ERROR for anything that a factory or the gate raised.
        """

        def load_own() -> tuple[Classifier, Samples | None]:
            if isinstance(gate, RobustnessGate):
                for name in surrogate_names(gate):  # before anything is measured, in every process
                    self.classifier(name)
            classifier = self.classifier(getattr(gate, "model", None))
            return classifier, self.samples() if needs_images(gate) else None

        def load() -> tuple[Classifier, Samples | None]:
            processes = self.settings.processes
            return load_own() if processes is None else load_in_all(processes, load_own, gate)

        with importing_from(self.gate_file.path.parent):
            return run_gate(gate, load, self.context(gate))

    def context(self, gate: Gate) -> RunContext:
        """Return what a gate needs to know about this run."""
        settings = self.settings
        return RunContext(
            run_seed=self.seed,
            on_progress=settings.on_progress,
            root=settings.root or self.gate_file.path.parent,
            failures_directory=settings.failures_directory,
            reproduce=settings.reproduce(gate_name(gate)),
            processes=settings.processes,
            gate_file=named_from_evidence(self.gate_file.path, settings.failures_directory),
            cache_directory=settings.cache_directory,
            notify=settings.notify,
            directory=self.gate_file.path.parent,
            surrogates=self.classifier,
        )

    def classifier(self, name: str | None = None) -> Classifier:
        """Return a model of the gate file, loaded at the first call.

        Args:
            name: Its name; None for the only one.

        Raises:
            InvalidInput: There is no model of that name, or several and no name was given.
            FactoryFailed: It cannot be loaded.
        """
        entry = self._entry(name)
        if entry.name not in self._classifiers:
            self._classifiers[entry.name] = _kept(lambda: self._load_classifier(entry))
        return _given(self._classifiers[entry.name])

    def samples(self) -> Samples:
        """Return the labelled images of the gate file, loaded at the first call.

        Raises:
            FactoryFailed: They cannot be loaded.
            InvalidInput: The gate file names none.
        """
        if self._samples is None:
            self._samples = _kept(self._load_samples)
        return _given(self._samples)

    def _entry(self, name: str | None) -> ModelEntry:
        models = self.gate_file.models
        if name is None and len(models) == 1:
            return models[0]
        named = {entry.name: entry for entry in models if entry.name}
        if name is None or name not in named:
            got = "none" if name is None else repr(name)
            message = f"expected the name of a model, one of {', '.join(named) or '(none)'}"
            raise InvalidInput(f"{message}, got {got}; see [[model]] in {self.gate_file.path}")
        return named[name]

    def _load_classifier(self, entry: ModelEntry) -> Classifier:
        limit_threads(self.settings.thread_count)
        from fgmf.classifier import Classifier

        with importing_from(self.gate_file.path.parent):
            source = f"model factory {entry.factory!r}" if entry.factory else f"model {entry.path}"
            model: Any = entry.path
            if entry.factory:
                model = self._call(source, entry)
            try:
                return Classifier(
                    model,
                    bounds=entry.bounds,
                    normalize=entry.normalize,
                    device=local_device(
                        self.settings.device or entry.device, self.settings.processes
                    ),
                    dtype=entry.dtype,
                    batch_size=self.settings.batch_size or entry.batch_size,
                    output=entry.output,
                )
            except Exception as error:
                raise FactoryFailed(f"{source} cannot be used: {one_line(error)}") from error

    def _call(self, source: str, entry: ModelEntry | DataEntry) -> object:
        directory = self.gate_file.path.parent
        return call_factory(source, entry.factory, entry.arguments, directory=directory)

    def _load_samples(self) -> Samples:
        limit_threads(self.settings.thread_count)
        from fgmf.datasets import collect_samples

        entry = self.gate_file.data
        if entry is None:
            raise InvalidInput(f"expected a table [data] in {self.gate_file.path}, got nothing")
        with importing_from(self.gate_file.path.parent):
            source = f"data factory {entry.factory!r}" if entry.factory else f"data {entry.path}"
            data: object = entry.path
            if entry.factory:
                data = self._call(source, entry)
            try:
                return collect_samples(data)
            except Exception as error:
                raise FactoryFailed(f"{source} cannot be used: {one_line(error)}") from error


def _kept(load: Callable[[], _Loaded]) -> _Loaded | Exception:
    try:
        return load()
    except Exception as error:  # noqa: BLE001 - raised again for every gate that needs it
        return error


def _given(kept: _Loaded | Exception) -> _Loaded:
    if isinstance(kept, Exception):
        raise kept.with_traceback(None)
    return kept


def adjusted(model: object, *, device: str | None, batch_size: int | None) -> Classifier:
    """Return a user's classifier with the caller's device and batch size.

    Args:
        model: What a user handed in; must be a classifier.
        device: Name of a device, or None to leave it. An ONNX file stays where it is.
        batch_size: Batch size, or None to leave it.

    Raises:
        InvalidInput: It is not a classifier, or the device is not there.
    """
    from fgmf.classifier import Classifier
    from fgmf.classifier.adapter import choose_device

    if not isinstance(model, Classifier):
        message = (
            f"expected an fgmf.Classifier, got {type(model).__name__}; wrap the model, as in "
            "fgmf.Classifier(model, bounds=(0, 1))"
        )
        raise InvalidInput(message)
    classifier = copy(model)
    if batch_size is not None:
        classifier.batch_size = batch_size
    if device is not None and classifier.gradient_available:
        classifier.device = choose_device(device)
    return classifier
