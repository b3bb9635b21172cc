"""One measurement, shared among several processes.

    every process: the clean logits of all images; attacks on every count-th image, from its rank on
    after each attack run, where somebody asks whether enough is known: all tell what they know
    in the end: all tell their outcomes, and every process holds the whole measurement

An image's outcome depends on nothing but the image, so the joined measurement is that of one
process; only its cost differs. A process that runs out of time or raises tells the others, who stop
as well: nobody waits for one that is gone, and no image that it had to attack counts as robust.
"""

from __future__ import annotations

import base64
import math
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fgmf.canonical import json_digest
from fgmf.errors import BudgetSpent, ProcessLost
from fgmf.robustness.measure import measure_robustness
from fgmf.robustness.plan import AttackRecord, Example, RobustnessMeasurement, ShareOfImages
from fgmf.verdict import Cost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.attacks.criteria import Criterion
    from fgmf.classifier import Classifier
    from fgmf.processes import Processes
    from fgmf.robustness.plan import RobustnessPlan
    from fgmf.types import Images, Json

_FLAGS = ("clean_correct", "broken", "undecided", "failed")
_SPENT = "expected every process to end within the gate's max_seconds"


def measure_shared(
    classifier: Classifier,
    images: Images,
    criterion: Criterion,
    plan: RobustnessPlan,
    *,
    keys: Sequence[str],
    processes: Processes | None,
) -> RobustnessMeasurement:
    """Measure robustness together with the other processes of a run.

    Args:
        classifier: The same model in every process; put back as it was afterwards.
        images: (n, ...) the same images in every process.
        criterion: For these n images.
        plan: The same in every process.
        keys: One stable key per image.
        processes: Who shares the work; None measures alone.

    Returns:
        The same measurement in every process: that of one process alone, at the cost of all.

    Raises:
        ProcessLost: Another process is gone or could not do its part.
        The errors of :func:`measure_robustness`.

    Cost: two clean passes of all images in every process; attacks on each image once.
    Randomness: as :func:`measure_robustness`.
    """
    if processes is None:
        return measure_robustness(classifier, images, criterion, plan, keys=keys)
    talk = _Talk(
        processes, subject=_subject(classifier, criterion, plan, keys), steady=plan.expect_steady
    )
    asked = plan.enough

    def is_enough(known: RobustnessMeasurement) -> bool:
        return asked is not None and asked(talk.look(known))

    share = ShareOfImages(rank=processes.rank, count=processes.count)
    own = replace(plan, share=share, enough=None if asked is None else is_enough)
    try:
        measured = measure_robustness(classifier, images, criterion, own, keys=keys)
    except Exception as error:
        talk.leave(f"{type(error).__name__}: {error}")
        raise
    return talk.finish(measured, example_limit=plan.example_limit)


class _Talk:
    """What the processes tell each other: rounds in which each sends one document.

    A process that has ended goes on taking part in rounds until all have, so every round has one
    document of each.
    """

    def __init__(self, processes: Processes, *, subject: str, steady: bool) -> None:
        self._processes, self._subject, self._steady = processes, subject, steady

    def look(self, known: RobustnessMeasurement) -> RobustnessMeasurement:
        """Tell what is known so far, and hear the same of all.

        Raises:
            BudgetSpent: Another process has run out of time.
            ProcessLost: Another process could not do its part.
        """
        answers = self._round({"ended": False, "known": _document(known)})
        self._refuse(answers)
        if any(answer["ended"] for answer in answers):
            raise BudgetSpent(_SPENT)
        return _joined(known, answers, example_limit=0)

    def finish(
        self, measured: RobustnessMeasurement, *, example_limit: int
    ) -> RobustnessMeasurement:
        """Tell the outcomes, and join those of all.

        Raises:
            ProcessLost: Another process could not do its part.
        """
        answers = self._until_all_ended({"ended": True, "known": _document(measured)})
        self._refuse(answers)
        self._refuse_other_answers(measured, answers)
        return _joined(measured, answers, example_limit=example_limit)

    def _refuse_other_answers(
        self, measured: RobustnessMeasurement, answers: list[dict[str, Any]]
    ) -> None:
        """A callable has no digest: that it is the same one shows in what it predicts."""
        predicted = measured.predicted.tolist()
        for rank, answer in enumerate(answers):
            if self._steady and answer["known"]["predicted"] != predicted:
                message = (
                    "expected the same clean predictions in every process, got others in process "
                    f"{rank}: it holds another model"
                )
                raise ProcessLost(message)

    def leave(self, reason: str) -> None:
        """Tell the others that this process cannot do its part."""
        # Where the others are gone as well, what this process raises says more.
        with suppress(ProcessLost):
            self._until_all_ended({"ended": True, "error": reason})

    def _until_all_ended(self, document: dict[str, Json]) -> list[dict[str, Any]]:
        answers = self._round(document)
        while not all(answer.get("ended", True) for answer in answers):
            answers = self._round(document)
        return answers

    def _round(self, document: dict[str, Json]) -> list[dict[str, Any]]:
        answers: list[Any] = self._processes.exchange({"subject": self._subject, **document})
        return answers

    def _refuse(self, answers: list[dict[str, Any]]) -> None:
        for rank, answer in enumerate(answers):
            if answer.get("error"):
                raise ProcessLost(f"process {rank} could not do its part: {answer['error']}")
            if answer.get("subject") != self._subject:
                message = (
                    "expected the same gate, model, images and labels in every process, got "
                    f"others in process {rank}; the factories must return the same in each"
                )
                raise ProcessLost(message)


def _subject(
    classifier: Classifier, criterion: Criterion, plan: RobustnessPlan, keys: Sequence[str]
) -> str:
    """Digest of what is measured: only the same question on the same model may be joined."""
    model: list[Json] = [
        classifier.state_digest(),
        str(classifier.dtype),
        repr(classifier.normalization),
        repr(classifier.output),
    ]
    targets = criterion.targets
    rule: list[Json] = [
        criterion.kind,
        criterion.top_k,
        criterion.labels.tolist(),
        [] if targets is None else targets.tolist(),
    ]
    attacks: list[Json] = [
        {"label": a.label, "parameters": dict(a.parameters), "restarts": a.restarts}
        for a in plan.attacks
    ]
    threat: list[Json] = [plan.threat.norm, plan.threat.epsilon, *plan.threat.bounds]
    return json_digest(
        {
            "model": model,
            "rule": rule,
            "keys": [*keys],
            "attacks": attacks,
            "threat": threat,
            "sources": {**plan.sources.digests},
            "seed": str(plan.seed),
        }
    )


def _document(measured: RobustnessMeasurement) -> dict[str, Json]:
    """What one process knows, as JSON."""
    return {
        "flags": {name: getattr(measured, name).int().tolist() for name in _FLAGS},
        "predicted": measured.predicted.tolist(),
        "records": [
            {
                "attacked": record.attacked,
                "broken": record.broken,
                "unverified": [*sorted(record.unverified)],
                "no_start": [*sorted(record.no_start)],
                "failures": [[at, why] for at, why in sorted(record.failures.items())],
                # Infinity is not JSON: an image without a radius had none found.
                "searched": [*sorted(record.radii)],
                "radii": [[at, r] for at, r in sorted(record.radii.items()) if math.isfinite(r)],
            }
            for record in measured.records
        ],
        "examples": [_example_document(example) for example in measured.examples],
        "verified": measured.verified,
        "cost": asdict(measured.cost),
    }


def _example_document(example: Example) -> dict[str, Json]:
    return {
        "position": example.position,
        "predicted": example.predicted,
        "attack": example.attack,
        "run": example.run,
        "image": _image_document(example.image),
        "start": None if example.start is None else _image_document(example.start),
    }


def _image_document(image: Images) -> dict[str, Json]:
    array = image.contiguous().cpu().numpy()
    return {
        "shape": list(array.shape),
        "dtype": array.dtype.name,
        "data": base64.b64encode(array.tobytes()).decode("ascii"),
    }


def _example(document: dict[str, Any]) -> Example:
    start = document["start"]
    return Example(
        position=document["position"],
        image=_image(document["image"]),
        predicted=document["predicted"],
        attack=document["attack"],
        run=document["run"],
        start=None if start is None else _image(start),
    )


def _image(document: dict[str, Any]) -> Images:
    data = np.frombuffer(base64.b64decode(document["data"]), dtype=document["dtype"])
    return torch.from_numpy(data.reshape(document["shape"]).copy())


def _joined(
    own: RobustnessMeasurement, answers: list[dict[str, Any]], *, example_limit: int
) -> RobustnessMeasurement:
    """The measurement of all images, each as the process says that attacked it."""
    known = [answer["known"] for answer in answers]
    owner = torch.arange(len(own.labels)) % len(known)

    def by_owner(values: list[list[int]]) -> torch.Tensor:
        return torch.tensor(values).gather(0, owner[None, :])[0]

    flags = {name: by_owner([k["flags"][name] for k in known]).bool() for name in _FLAGS}
    examples = [_example(document) for k in known for document in k["examples"]]
    examples.sort(key=lambda example: (example.run, example.position))
    return RobustnessMeasurement(
        labels=own.labels,
        predicted=by_owner([k["predicted"] for k in known]),
        clean_correct=flags["clean_correct"],
        broken=flags["broken"],
        undecided=flags["undecided"],
        failed=flags["failed"],
        records=tuple(
            _joined_record(record, [k["records"][at] for k in known])
            for at, record in enumerate(own.records)
        ),
        examples=tuple(examples[:example_limit]),
        verified=sum(k["verified"] for k in known),
        cost=_joined_cost([Cost(**k["cost"]) for k in known]),
    )


def _joined_record(own: AttackRecord, documents: list[dict[str, Any]]) -> AttackRecord:
    return AttackRecord(
        plan=own.plan,
        attacked=sum(d["attacked"] for d in documents),
        broken=sum(d["broken"] for d in documents),
        unverified={at for d in documents for at in d["unverified"]},
        no_start={at for d in documents for at in d["no_start"]},
        failures={at: why for d in documents for at, why in d["failures"]},
        radii=dict.fromkeys((at for d in documents for at in d["searched"]), math.inf)
        | {at: radius for d in documents for at, radius in d["radii"]},
    )


def _joined_cost(costs: list[Cost]) -> Cost:
    """Passes of all; seconds of the slowest, as they ran side by side."""
    return Cost(
        forward_passes=sum(cost.forward_passes for cost in costs),
        backward_passes=sum(cost.backward_passes for cost in costs),
        seconds=max(cost.seconds for cost in costs),
        cached_images=sum(cost.cached_images for cost in costs),
    )
