"""Train by a plan, from the start or from where a crash left it.

lock the directory;  build images, model, recipe;  identity = digests of recipe, images, weights
finished already?    say so, and do nothing
a checkpoint?        take its state, if its identity is this one
train, with metrics, monitors, validation, checkpoints
write the weights, then the manifest, then remove the checkpoint
"""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save

from fgmf.canonical import finite_or_none, write_atomically
from fgmf.errors import FgmfError, InvalidInput, ProcessLost, StaleEvidence
from fgmf.pipeline.building import (
    build_augmentation,
    build_engine,
    build_model,
    build_optimization,
    build_recipe,
    build_samples,
    build_validation,
    check_logits,
    check_needs,
)
from fgmf.pipeline.directory import TrainingDirectory, file_digest
from fgmf.pipeline.manifest import (
    FORMAT,
    changes_since,
    check_same,
    code_digest,
    identity_of,
    now,
    read_manifest,
    surroundings,
    weights_digest,
)
from fgmf.pipeline.masks import MaskLogging
from fgmf.pipeline.networks import ImageFacts
from fgmf.pipeline.pruning import build_pruning, held_pattern
from fgmf.pipeline.reloading import check_weights_file, load_trained
from fgmf.pipeline.validation import Validation
from fgmf.sparsity import save_pattern
from fgmf.threat import ThreatModel
from fgmf.training import (
    CheckpointWriter,
    CollapseWatch,
    MetricsWriter,
    Teacher,
    TrainingPeers,
    TrainingRun,
    TrainingSettings,
    read_checkpoint,
    read_shared_checkpoint,
    state_of,
)
from fgmf.training.collapse import CollapseLimits, CollapseMonitor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from fgmf.pipeline.loading import TrainingPlan
    from fgmf.processes import Processes
    from fgmf.training import Callback, TrainingReport


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """What the caller of a training decides.

    Attributes:
        restart: Throw an earlier training in the directory away.
        notify: Told what the user should know.
        callbacks: Told besides those of the plan, before them; they keep nothing.
        processes: Others that train the same model; the first one writes.
    """

    restart: bool = False
    notify: Callable[[str], None] = field(default=lambda _message: None)
    callbacks: Sequence[Callback] = ()
    processes: Processes | None = None

    @property
    def first(self) -> bool:
        """Whether this process writes."""
        return self.processes is None or self.processes.rank == 0


@dataclass(frozen=True, kw_only=True)
class TrainingOutcome:
    """What a call came to.

    Attributes:
        directory: Where everything is.
        steps: Updates that the training has made.
        stopped: Why it ended before its time; empty where it did not.
        already: It was finished before, and nothing was done.
    """

    directory: Path
    steps: int
    stopped: str
    already: bool


def run_training(plan: TrainingPlan, request: TrainingRequest | None = None) -> TrainingOutcome:
    """Train by a plan.

    Args:
        plan: A checked recipe file.
        request: What the caller decides.

    Returns:
        Where the model is.

    Raises:
        InvalidInput: Data that cannot be trained on; another training runs in the directory.
        FactoryFailed: A factory of the plan failed.
        StaleEvidence: The directory holds another training.
        NonFiniteOutput: The loss became NaN or infinite, or the weights at the end.

    Randomness: the plan's seed fixes the weights on one machine with one number of threads, also
        across crashes and resumptions.
    """
    request = request or TrainingRequest()
    directory = TrainingDirectory(path=plan.output)
    threads = torch.get_num_threads()
    torch.set_num_threads(plan.engine.threads or threads)
    try:
        with directory.locked() if request.first else nullcontext():
            if request.first:
                directory.prepare(restart=request.restart)
            return _Training(plan, request, directory).run()
    finally:
        torch.set_num_threads(threads)


class _Training:
    """One call: what is built, and what stands in the manifest."""

    def __init__(
        self, plan: TrainingPlan, request: TrainingRequest, directory: TrainingDirectory
    ) -> None:
        self.plan, self.request, self.directory = plan, request, directory
        check_needs(plan, writes=request.first)
        self.samples = build_samples(plan, request.notify)
        self.facts = ImageFacts.of(self.samples)
        self.model = build_model(plan, self.facts)
        build_engine(plan).check_backend()
        check_logits(self.model, self.samples.images)
        teacher = _teacher(plan)
        self.recipe = build_recipe(plan, teacher)
        name = "" if teacher is None else teacher.name
        self.identity = identity_of(plan, self.samples, self.model, name)
        self.earlier: dict[str, Any] | None = None
        self._states: list[bytes] = []
        self._resumes = False
        self._masks: MaskLogging | None = None
        self._pruning = build_pruning(plan, self.samples, self.recipe)

    def run(self) -> TrainingOutcome:
        before = self._agreed() if self.request.processes else self._before()
        if before is not None:
            return self._outcome(int(before["steps"]), str(before["stopped"]), already=True)
        run = TrainingRun(self.model, self.samples, self.recipe, self._settings())
        self._resume(run)
        if self.request.first:
            self._write_manifest("running", run.step, {})
            write_atomically(self.directory.recipe, self.plan.path.read_bytes())
        began = time.process_time()
        try:
            report = run.finish()
        finally:
            head = "" if self._masks is None else self._masks.close()
        if self.request.first:
            pruned = self._pruned()
            weights_of(self.model, self.directory.weights)
            state = "stopped" if report.stopped else "finished"
            named = {"mask_log_head": head} if head else {}
            spent = {"cpu_seconds": time.process_time() - began}
            result = {**self._result(report), **spent, **named, **pruned}
            self._write_manifest(state, run.step, result)
            self.directory.checkpoint.unlink(missing_ok=True)
        return self._outcome(report.steps, report.stopped, already=False)

    def _before(self) -> dict[str, Any] | None:
        """The result of this training, if it was finished before."""
        self.earlier = earlier = read_manifest(self.directory.manifest)
        if earlier is None:
            return None
        check_same(earlier["identity"], self.identity, self.directory.path)
        result: dict[str, Any] = earlier["result"]
        if earlier["state"] == "running":
            return None
        check_weights_file(self.directory, result)
        return result

    def _agreed(self) -> dict[str, Any] | None:
        """The same, as the first of several processes finds it, which all go by."""
        processes, found, error = self.request.processes, None, None
        if processes is None:
            return None
        try:
            if self.request.first:
                found = self._before()
                self._states = self._kept(processes.count)
        except FgmfError as refusal:
            error = refusal
        said: list[Any] = processes.exchange(
            {
                "identity": dict(self.identity),
                "found": found,
                "resumes": bool(self._states),
                "error": None if error is None else "",
            }
        )
        if error is not None:
            raise error
        if any(each["error"] is not None for each in said):
            raise ProcessLost("expected all processes to train, got one that refused")
        if any(each["identity"] != self.identity for each in said):
            raise InvalidInput(
                "expected the same recipe and images in every process, got others in some; does a "
                "factory draw without a seed?"
            )
        first: dict[str, Any] | None = said[0]["found"]
        self._resumes = bool(said[0]["resumes"])
        return first

    def _kept(self, count: int) -> list[bytes]:
        """States of so many processes, if there is a checkpoint."""
        path = self.directory.checkpoint
        return read_shared_checkpoint(path, self.identity, count) if path.exists() else []

    def _resume(self, run: TrainingRun) -> None:
        """Take over the checkpoint, if there is one."""
        path, peers = self.directory.checkpoint, run.settings.peers
        if peers is not None:
            if not self._resumes:
                return
            run.load_state_dict(state_of(peers.handed_out(self._states)))
            self._states = []
        elif path.exists():
            run.load_state_dict(read_checkpoint(path, self.identity))
        if not (run.step and self.request.first):
            return
        self.request.notify(f"goes on after update {run.step} of {run.steps}")
        sessions = [] if self.earlier is None else self.earlier["sessions"][-1:]
        changed = [name for session in sessions for name in changes_since(session, self._code)]
        if changed:
            self.request.notify(
                f"{', '.join(changed)} changed since the training was cut off: the weights need "
                "not be those of a training without interruption"
            )

    @property
    def _code(self) -> str:
        return code_digest(self.plan)

    def _settings(self) -> TrainingSettings:
        plan, directory = self.plan, self.directory
        writing = plan.writing
        peers = self.request.processes
        if plan.mask_log is not None and peers is not None:
            raise InvalidInput("expected one process for a training with [mask_log], got several")
        if plan.mask_log is not None:
            self._masks = MaskLogging(directory.mask_log, self.identity)
        masks: list[Callback] = [] if self._masks is None else [self._masks]
        pruning: list[Callback] = [] if self._pruning is None else [self._pruning]
        callbacks = [*masks, *pruning]
        if self.request.first:
            callbacks += [*self.request.callbacks, *self._watching()]
        callbacks.append(
            CheckpointWriter(
                directory.checkpoint,
                self.identity,
                seconds=writing.checkpoint_seconds,
                updates=writing.checkpoint_updates,
            )
        )
        return TrainingSettings(
            seed=plan.seed,
            optimization=build_optimization(plan),
            engine=build_engine(plan),
            augmentation=build_augmentation(plan),
            callbacks=callbacks,
            peers=None if peers is None else TrainingPeers(rank=peers.rank, count=peers.count),
        )

    def _pruned(self) -> dict[str, Any]:
        """Write what is gone; say it for the manifest."""
        if self._pruning is None:
            return {}
        pattern = held_pattern(self._pruning, self.model)
        if pattern is None:
            return {"pruned_share": 0.0}
        save_pattern(pattern, self.directory.pattern)
        share = pattern.share_removed(self.model)
        return {"pattern": pattern.digest, "pruned_share": share}

    def _watching(self) -> list[Callback]:
        """What looks at the training and writes numbers."""
        plan, writing = self.plan, self.plan.writing
        callbacks: list[Callback] = []
        if plan.collapse is not None:
            callbacks.append(_watch(plan))
        if plan.validation is not None:
            callbacks.append(Validation(plan, build_validation(plan), self.request.notify))
        metrics = MetricsWriter(
            self.directory.path, every=writing.metrics_every, tensorboard=writing.tensorboard
        )
        return [*callbacks, metrics]

    def _write_manifest(self, state: str, step: int, result: Mapping[str, Any]) -> None:
        sessions = [] if self.earlier is None else list(self.earlier["sessions"])
        count = 1 if self.request.processes is None else self.request.processes.count
        session = {
            "processes": count,
            "began": now(),
            "code": self._code,
            "from_update": step,
            **surroundings(),
        }
        if state == "running":
            sessions.append(session)
            self.earlier = {"sessions": sessions}
        self.directory.write_manifest(
            {
                "format": FORMAT,
                "state": state,
                "recipe": dict(self.plan.tables),
                "recipe_file": {
                    "path": os.path.relpath(self.plan.path, self.directory.path),
                    "digest": self.plan.digest,
                },
                "objective": repr(self.recipe),
                "seed": self.plan.seed,
                "images": {"count": len(self.samples), **vars(self.facts)},
                "identity": self.identity,
                "sessions": sessions,
                "result": dict(result),
            }
        )

    def _result(self, report: TrainingReport) -> dict[str, Any]:
        return {
            "ended": now(),
            "steps": report.steps,
            "stopped": report.stopped,
            "losses": [finite_or_none(loss) for loss in report.losses],
            "forward_passes": report.cost.forward_passes,
            "backward_passes": report.cost.backward_passes,
            "seconds": report.cost.seconds,
            "weights": weights_digest(self.model.state_dict()),
            "weights_file": file_digest(self.directory.weights),
        }

    def _outcome(self, steps: int, stopped: str, *, already: bool) -> TrainingOutcome:
        path = self.directory.path
        return TrainingOutcome(directory=path, steps=steps, stopped=stopped, already=already)


def weights_of(model: nn.Module, path: Path) -> None:
    """Write all tensors of a model's state as safetensors."""
    state = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in model.state_dict().items()
    }
    write_atomically(path, save(state))


def _teacher(plan: TrainingPlan) -> Teacher | None:
    if plan.teacher is None:
        return None
    model = load_trained(plan.path.parent / plan.teacher.directory)
    return Teacher(name=weights_digest(model.state_dict()), model=model)


def _watch(plan: TrainingPlan) -> CollapseWatch:
    table, budget = plan.collapse, plan.defence.budget
    if table is None or budget is None:
        raise StaleEvidence("expected a budget for the collapse monitor, got none")
    monitor = CollapseMonitor(
        threat=ThreatModel(norm="linf", epsilon=budget, bounds=plan.data.bounds),
        limits=CollapseLimits(gap=table.gap),
        every=table.every,
        max_images=table.max_images,
    )
    return CollapseWatch(monitor, stop=table.stop)
