"""Train by a plan, from the start or from where a crash left it.

lock the directory;  build images, model, recipe;  identity = digests of recipe, images, weights
finished already?    say so, and do nothing
a checkpoint?        take its state, if its identity is this one
train, with metrics, monitors, validation, checkpoints
write the weights, then the manifest, then remove the checkpoint
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save

from fgmf.canonical import finite_or_none, write_atomically
from fgmf.errors import StaleEvidence
from fgmf.pipeline.building import (
    ImageFacts,
    build_engine,
    build_model,
    build_optimization,
    build_recipe,
    build_samples,
    build_validation,
)
from fgmf.pipeline.directory import TrainingDirectory, file_digest
from fgmf.pipeline.manifest import (
    FORMAT,
    code_digest,
    identity_of,
    now,
    read_manifest,
    surroundings,
    weights_digest,
)
from fgmf.pipeline.reloading import load_trained
from fgmf.pipeline.validation import Validation
from fgmf.threat import ThreatModel
from fgmf.training import (
    CheckpointWriter,
    CollapseWatch,
    MetricsWriter,
    Teacher,
    TrainingRun,
    TrainingSettings,
    read_checkpoint,
)
from fgmf.training.collapse import CollapseLimits, CollapseMonitor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from fgmf.pipeline.loading import TrainingPlan
    from fgmf.training import Callback, TrainingReport


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """What the caller of a training decides.

    Attributes:
        restart: Throw an earlier training in the directory away.
        notify: Told what the user should know.
        callbacks: Told besides those of the plan, before them; they keep nothing.
    """

    restart: bool = False
    notify: Callable[[str], None] = field(default=lambda _message: None)
    callbacks: Sequence[Callback] = ()


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
        NonFiniteOutput: The loss became NaN or infinite.

    Randomness: the plan's seed fixes the weights on one machine with one number of threads, also
        across crashes and resumptions.
    """
    request = request or TrainingRequest()
    directory = TrainingDirectory(path=plan.output)
    threads = torch.get_num_threads()
    torch.set_num_threads(plan.engine.threads or threads)
    try:
        with directory.locked():
            if request.restart:
                directory.clear()
            return _Training(plan, request, directory).run()
    finally:
        torch.set_num_threads(threads)


class _Training:
    """One call: what is built, and what stands in the manifest."""

    def __init__(
        self, plan: TrainingPlan, request: TrainingRequest, directory: TrainingDirectory
    ) -> None:
        self.plan, self.request, self.directory = plan, request, directory
        self.samples = build_samples(plan)
        self.facts = ImageFacts.of(self.samples)
        self.model = build_model(plan, self.facts)
        teacher = _teacher(plan)
        self.recipe = build_recipe(plan, teacher)
        name = "" if teacher is None else teacher.name
        self.identity = identity_of(plan, self.samples, self.model, name)
        self.earlier = read_manifest(directory.manifest)

    def run(self) -> TrainingOutcome:
        earlier = self.earlier
        if earlier is not None:
            _check_same(earlier["identity"], self.identity, self.directory.path)
        if earlier is not None and earlier["state"] != "running":
            result = earlier["result"]
            return self._outcome(int(result["steps"]), str(result["stopped"]), already=True)
        run = TrainingRun(self.model, self.samples, self.recipe, self._settings())
        self._resume(run)
        write_atomically(self.directory.recipe, self.plan.path.read_bytes())
        self._write_manifest("running", run.step, {})
        report = run.finish()
        weights_of(self.model, self.directory.weights)
        state = "stopped" if report.stopped else "finished"
        self._write_manifest(state, run.step, self._result(report))
        self.directory.checkpoint.unlink(missing_ok=True)
        return self._outcome(report.steps, report.stopped, already=False)

    def _resume(self, run: TrainingRun) -> None:
        """Take over the checkpoint, if there is one."""
        path = self.directory.checkpoint
        if not path.exists():
            return
        run.load_state_dict(read_checkpoint(path, self.identity))
        self.request.notify(f"goes on after update {run.step} of {run.steps}")
        if self.earlier is not None and self.earlier["sessions"][-1]["code"] != self._code:
            self.request.notify(
                "the code has changed since the training began: the weights need not be those "
                "of a training without interruption"
            )

    @property
    def _code(self) -> str:
        return code_digest(self.plan)

    def _settings(self) -> TrainingSettings:
        plan, directory = self.plan, self.directory
        writing = plan.writing
        callbacks: list[Callback] = [*self.request.callbacks]
        if plan.collapse is not None:
            callbacks.append(_watch(plan))
        if plan.validation is not None:
            callbacks.append(Validation(plan, build_validation(plan)))
        callbacks.append(
            MetricsWriter(
                directory.path, every=writing.metrics_every, tensorboard=writing.tensorboard
            )
        )
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
            callbacks=callbacks,
        )

    def _write_manifest(self, state: str, step: int, result: Mapping[str, Any]) -> None:
        sessions = [] if self.earlier is None else list(self.earlier["sessions"])
        session = {"began": now(), "code": self._code, "from_update": step, **surroundings()}
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


def _check_same(kept: Mapping[str, str], own: Mapping[str, str], path: Path) -> None:
    changed = [name for name in sorted({*kept, *own}) if kept.get(name) != own.get(name)]
    if changed:
        raise StaleEvidence(
            f"expected this training in {path}, got one with another {', '.join(changed)}; "
            "name another output, or start anew (--restart)"
        )
