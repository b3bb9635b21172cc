"""State of one pytest run, kept in `config.stash`: gate files, loaded models, verdicts.

Under xdist every worker has its own state, with the models and the data; the controller has
one with the gate file and the records, which arrive with the reports. Without xdist one state
does both.
"""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import pytest

from pytest_fgmf.keys import RECORDS_ATTRIBUTE
from pytest_fgmf.markers import register_kinds
from pytest_fgmf.naming import node_id
from pytest_fgmf.plugin import LISTING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.classifier import Classifier
    from fgmf.datasets import Samples
    from fgmf.gatefile import GateFile
    from fgmf.gates.specification import Gate, RunContext
    from fgmf.running import GateRun
    from fgmf.running.measuring import Load
    from fgmf.types import Json
    from fgmf.verdict import Verdict
    from pytest_fgmf.comparing import Wishes
    from pytest_fgmf.outcomes import Record
    from pytest_fgmf.settings import Settings

Selection = Literal["all", "node ids", "packages", "replay"]
FAILURES_DIRECTORY: Final = Path(".fgmf", "failures")
CACHE_DIRECTORY: Final = Path(".fgmf", "cache")
_STATE: Final = pytest.StashKey["GateSession"]()


class GateSession:
    """Everything that the plugin knows about a run.

    Attributes:
        config: Pytest's configuration.
        settings: What the user decided.
        root_file: Gate file of the root directory, or the one that an option names.
        selection: Whether the run is about everything, or what was picked instead.
        files: Gate files that were read, by path.
        broken: What is wrong with gate files that were found while collecting.
        records: Verdicts, in the order of their arrival; only where reports are gathered.
        fates: Why items did not count, by node id.
        required_elsewhere: Node ids of required gates of other gate files.
        written: Reports that were written.
        comparing: What was asked about baselines; None if nothing was.
        compared: What is to be shown about baselines, line by line.
        comparisons: The same for reports.
        history: What gates measured in earlier runs and this one, for reports.
        notes: What the user should know about the cache.
        listed: Node ids of what is listed instead of being run.
        unwritten: What else is wrong with the run: reports that could not be written, tests of
            required gates that were reported as passed though the gate did not.
    """

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        """Take what is known when the session starts."""
        self.config = config
        self.settings = settings
        self.root_file: Path | None = None
        self.selection: Selection = "all"
        self.files: dict[Path, GateFile] = {}
        self.broken: dict[str, str] = {}
        self.records: list[Record] = []
        self.fates: dict[str, str] = {}
        self.required_elsewhere: set[str] = set()
        self.written: list[Path] = []
        self.comparing: Wishes | None = None
        self.compared: list[str] = []
        self.comparisons: list[Json] = []
        self.history: list[Json] = []
        self.notes: list[str] = []
        self.unwritten: list[str] = []
        self.listed: set[str] = set()
        self._runs: dict[Path, GateRun] = {}
        self._collected_samples: tuple[object, Samples] | None = None

    @property
    def is_worker(self) -> bool:
        """True in an xdist worker, which reports nothing itself."""
        return hasattr(self.config, "workerinput")

    @property
    def listing(self) -> bool:
        """True where gates are listed and nothing runs."""
        return bool(self.config.option.collectonly == LISTING)

    @property
    def has_gates(self) -> bool:
        """False in a run that the plugin has nothing to do with, nor to say about."""
        settings = self.settings
        asked = settings.require or settings.reports or settings.replay or self.comparing
        kept = settings.history is not None
        found = self.root_file or self.files or self.required_elsewhere
        return bool(self.listing or asked or kept or found or self.records or self.broken)

    @property
    def root_gates(self) -> GateFile | None:
        """The root's gate file, if it was read."""
        return None if self.root_file is None else self.files.get(self.root_file)

    def gate_file(self, path: Path) -> GateFile:
        """Read a gate file, once.

        Raises:
            InvalidGateFile: With every problem of the file.
        """
        if path not in self.files:
            from fgmf.gatefile import load_gate_file

            gate_file = load_gate_file(path, profile=self.settings.profile)
            register_kinds(self.config, [str(getattr(g, "kind", "")) for g in gate_file.gates])
            self.files[path] = gate_file
            if path != self.root_file:
                names = gate_file.required
                self.required_elsewhere |= {f"{self.shown(path)}::{name}" for name in names}
        return self.files[path]

    def shown(self, path: Path) -> str:
        """Write a path as node ids have it: from the root directory, with slashes."""
        return Path(os.path.relpath(path, self.config.rootpath)).as_posix()

    def run_of(self, path: Path) -> GateRun:
        """Return the run of a gate file, with its models and data, made at the first call."""
        if path not in self._runs:
            from fgmf.running import GateRun, RunSettings

            shown = self.shown(path)
            settings = RunSettings(
                seed=self.settings.seed,
                device=self.settings.device,
                batch_size=self.settings.batch_size,
                thread_count=_thread_share(),
                root=self.config.rootpath,
                failures_directory=self.config.rootpath / FAILURES_DIRECTORY,
                reproduce=lambda name: self.command(f"{shown}::{name}"),
                cache_directory=self.cache_directory(path),
                notify=self.notes.append,
            )
            self._runs[path] = GateRun(self.gate_file(path), settings)
        return self._runs[path]

    def cache_directory(self, path: Path | None) -> Path | None:
        """Return where outcomes are kept between runs; None where they are not.

        Args:
            path: The gate file; None where there is none.
        """
        if not self.settings.cache or self.measures_anew:
            return None
        place = self.config.rootpath if path is None else path.parent
        return place / CACHE_DIRECTORY

    @property
    def measures_anew(self) -> bool:
        """Whether the run's profile is one that uses no cache, whoever asks for it."""
        from fgmf.gatefile.profiles import FRESH_PROFILE, active_profile

        return active_profile(self.settings.profile) == FRESH_PROFILE

    def root_run(self) -> GateRun:
        """Return the run of the root's gate file.

        Raises:
            InvalidInput: There is no gate file.
            InvalidGateFile: It is broken.
        """
        if self.root_file is None:
            from fgmf.errors import InvalidInput

            message = (
                "expected a model and data: override the fixtures fgmf_model and fgmf_data in "
                f"conftest.py, or write fgmf.toml in {self.config.rootpath}"
            )
            raise InvalidInput(message)
        return self.run_of(self.root_file)

    def classifier(self, model: object, *, name: str | None) -> Classifier:
        """Return the classifier for a test.

        Args:
            model: What the fixture `fgmf_model` returned; None means the gate file's.
            name: A model of the gate file, which wins over the fixture.

        Raises:
            FgmfError: There is none, or it cannot be loaded.
        """
        if model is None or name is not None:
            return self.root_run().classifier(name)
        from fgmf.running import adjusted, limit_threads

        limit_threads(_thread_share())
        settings = self.settings
        return adjusted(model, device=settings.device, batch_size=settings.batch_size)

    def samples(self, data: object) -> Samples:
        """Return the labelled images for a test; the last data set is kept.

        Args:
            data: What the fixture `fgmf_data` returned; None means the gate file's.

        Raises:
            FgmfError: There are none, or they cannot be used.
        """
        if data is None:
            return self.root_run().samples()
        if self._collected_samples is None or self._collected_samples[0] is not data:
            from fgmf.datasets import collect_samples

            self._collected_samples = data, collect_samples(data)
        return self._collected_samples[1]

    def measure(self, gate: Gate, load: Load, item: pytest.Item) -> Verdict:
        """Measure a gate that is written in a test."""
        from contextlib import nullcontext

        from fgmf.running import importing_from, run_gate

        path = self.root_file
        with nullcontext() if path is None else importing_from(path.parent):
            return run_gate(gate, load, self._context(item))

    def replay(self, directory: Path, model: object) -> Verdict:
        """Replay saved evidence; always a verdict.

        Args:
            directory: A gate's evidence.
            model: What the fixture `fgmf_model` returned: for the evidence of a gate in a test.
                That of a gate file is about the model of its own file, as the gate was.
        """
        from dataclasses import replace

        from fgmf.running import recorded_gate_file, replay_failures

        def load(name: str | None) -> Classifier:
            recorded = recorded_gate_file(directory, root=self.config.rootpath)
            if recorded is None:
                return self.classifier(model, name=name)
            if self.settings.gatefile is not None:
                return self.root_run().classifier(name)
            return self.run_of(recorded).classifier(name)

        verdict = replay_failures(directory, load)
        command = f"pytest --fgmf-replay {shlex.quote(self.shown(directory))}"
        return replace(verdict, reproduce=command)

    def command(self, nodeid: str) -> str:
        """Return a command that runs one item again and comes to the same verdict."""
        settings = self.settings
        gate_file = self.root_gates
        profile = settings.profile if gate_file is None else gate_file.profile
        parts = ["pytest", shlex.quote(nodeid)]
        if settings.gatefile is not None:
            parts += ["--fgmf-gatefile", shlex.quote(self.shown(settings.gatefile))]
        if profile not in {None, "default"}:
            parts += ["--fgmf-profile", shlex.quote(str(profile))]
        if settings.seed is not None:
            parts += ["--fgmf-seed", str(settings.seed)]
        return " ".join(parts)

    def take_report(self, report: pytest.TestReport) -> None:
        """Gather the verdicts of a report, or why there are none."""
        if hasattr(report, RECORDS_ATTRIBUTE):
            from pytest_fgmf.outcomes import records_of

            for record in records_of(report):
                self.take_record(record)
        if report.skipped:
            expected = hasattr(report, "wasxfail")
            self.fates[report.nodeid] = "expected to fail (xfail)" if expected else "skipped"
        elif report.failed:
            self.fates.setdefault(report.nodeid, "failed before it was measured")

    def take_record(self, record: Record) -> None:
        """Gather a verdict, and tell whoever tracks gates."""
        self.records.append(record)
        self.tell("pytest_fgmf_result", {"verdict": record.verdict, "nodeid": record.nodeid})

    def tell(self, hook: str, values: Mapping[str, object]) -> None:
        """Call a hook of our own; what it raises fails the run, and stops nothing else."""
        try:
            getattr(self.config.hook, hook)(config=self.config, **values)
        except pytest.exit.Exception:
            raise
        except Exception as error:  # noqa: BLE001 - a tracker that is away must not hide verdicts
            message = f"hook {hook} raised {type(error).__name__}: {error}".splitlines()[0]
            self.unwritten.append(message)

    def forget_uncounted(self, replacement: Record) -> None:
        """Drop records that do not count of the gate that another record is about."""
        name, nodeid = replacement.verdict.gate, replacement.nodeid
        self.records = [
            record
            for record in self.records
            if record.counts or (record.verdict.gate, record.nodeid) != (name, nodeid)
        ]

    def take_deselected(self, items: list[pytest.Item]) -> None:
        """Remember which gates were deselected."""
        for item in items:
            if "fgmf" in item.keywords:
                self.fates[node_id(item)] = "deselected"

    def handover(self) -> str:
        """Encode what a worker knows and the controller does not."""
        deselected = [nodeid for nodeid, fate in self.fates.items() if fate == "deselected"]
        return json.dumps(
            {
                "deselected": deselected,
                "required": sorted(self.required_elsewhere),
                "notes": self.notes,
                "broken": self.broken,
            }
        )

    def take_handover(self, text: str) -> None:
        """Take what a worker handed over."""
        document: dict[str, Any] = json.loads(text)
        self.broken |= document["broken"]
        self.required_elsewhere |= set(document["required"])
        self.notes += document["notes"]
        for nodeid in document["deselected"]:
            self.fates.setdefault(nodeid, "deselected")

    def _context(self, item: pytest.Item) -> RunContext:
        from fgmf.gates import RunContext
        from fgmf.seeding import DEFAULT_RUN_SEED

        seed = self.settings.seed
        if seed is None:
            gate_file = self._readable_root_gates()
            seed = DEFAULT_RUN_SEED if gate_file is None else gate_file.seed
        return RunContext(
            run_seed=seed,
            root=self.config.rootpath,
            failures_directory=self.config.rootpath / FAILURES_DIRECTORY,
            reproduce=self.command(node_id(item)),
            cache_directory=self.cache_directory(self.root_file),
            notify=self.notes.append,
            directory=self.config.rootpath if self.root_file is None else self.root_file.parent,
        )

    def _readable_root_gates(self) -> GateFile | None:
        from fgmf.errors import InvalidGateFile

        try:
            return None if self.root_file is None else self.gate_file(self.root_file)
        except InvalidGateFile:
            return None  # the model or the data will say so, if the gate needs the file


def keep(config: pytest.Config, state: GateSession) -> None:
    """Put the state of a run where the hooks and fixtures find it."""
    config.stash[_STATE] = state


def state_of(config: pytest.Config) -> GateSession | None:
    """Return the state of a run; None before the first sign of a gate."""
    return config.stash.get(_STATE, None)


def session_of(config: pytest.Config) -> GateSession:
    """Return the state of a run that has gates."""
    return config.stash[_STATE]


def _thread_share() -> int | None:
    """Threads for one of several xdist workers; None where there is only one process."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers < 2:
        return None
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, cores // workers)
