"""The cache of one gate: asked and filled while it measures, written when it has ended well."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fgmf.attacks.catalogue_outside import TRAINED
from fgmf.caching.conditions import image_digest, run_digest
from fgmf.caching.shards import SIZE_LIMIT, evict, read_shards, write_shard
from fgmf.canonical import json_digest, tensor_digest
from fgmf.classifier.memory import is_out_of_memory
from fgmf.errors import NotCacheable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fgmf.classifier import Classifier
    from fgmf.robustness import RobustnessPlan
    from fgmf.robustness.known import AskedImages, KnownOutcome
    from fgmf.types import Images

_ONE_BY_ONE: Final = 1
"""Clean logits for a key are computed alone: in a batch their last bits depend on its size."""


def open_cache(
    directory: Path,
    classifier: Classifier,
    plan: RobustnessPlan,
    *,
    rule: tuple[str, int],
    notify: Callable[[str], None],
) -> DiskCache | None:
    """Open the cache for one gate; where outcomes cannot be cached, say why and return None.

    Args:
        directory: The cache.
        classifier: Outside its guard.
        plan: What is measured.
        rule: Kind and k of the criterion.
        notify: Told what the user should know.

    Returns:
        The cache of this run's conditions.

    Cost: a copy of the model's state, reads of own source files; no passes.
    """
    try:
        _refuse(plan)
        run = run_digest(classifier, plan, rule=rule)
    except NotCacheable as error:
        notify(f"cache not used: {error}")
        return None
    except Exception as error:  # noqa: BLE001 - users' objects may raise anything when looked at
        notify(f"cache not used: {type(error).__name__} while looking at the model: {error}")
        return None
    starts = any(attack.entry.needs_start for attack in plan.attacks)
    return DiskCache(directory=directory, run=run, starts=starts, notify=notify)


def _refuse(plan: RobustnessPlan) -> None:
    if not plan.expect_steady:
        raise NotCacheable("the model's outputs are not expected to be the same twice")
    if plan.starts:
        raise NotCacheable("images to walk from were given")
    named = [name for name in plan.sources.surrogates if name != TRAINED]
    if named:  # the digest of its state says nothing of its code
        raise NotCacheable(f"the model {named[0]!r} makes examples as a surrogate")
    foreign = [a.entry.title for a in plan.attacks if a.entry.engine == "extension"]
    if foreign:
        raise NotCacheable(f"{foreign[0]} is an attack of another package")


@dataclass(kw_only=True)
class DiskCache:
    """Outcomes of one run's conditions; an :class:`fgmf.robustness.known.OutcomeCache`.

    Attributes:
        directory: Where the files lie.
        run: Digest of the run's conditions.
        starts: Whether attacks start from other images, so that outcomes depend on them.
        notify: Told what the user should know.
        size_limit: Bytes that all files together may have.
    """

    directory: Path
    run: str
    starts: bool
    notify: Callable[[str], None]
    size_limit: int = SIZE_LIMIT
    _stored: dict[str, KnownOutcome] | None = None
    _fresh: dict[str, KnownOutcome] = field(default_factory=dict)

    def names(self, asked: AskedImages) -> Mapping[int, str]:
        """Return the name, by position, under which each wanted image is kept; {} keeps none.

        Args:
            asked: The images; the classifier inside its guard.

        Cost: one forward pass for each wanted image; for all, where attacks start from others.
        """
        positions = range(len(asked.images)) if self.starts else asked.wanted
        try:
            logits = asked.classifier.logits_in_batches(
                asked.images[list(positions)], batch_size=_ONE_BY_ONE
            )
        except Exception as error:
            if is_out_of_memory(error):
                raise
            self.notify(f"cache not used: the model refuses a single image ({error})")
            return {}
        digests = {at: tensor_digest(row) for at, row in zip(positions, logits, strict=True)}
        criterion = asked.criterion

        def name(position: int, company: str) -> str:
            targets = criterion.targets
            return image_digest(
                key=asked.keys[position],
                logits=digests[position],
                label=int(criterion.labels[position]),
                target=None if targets is None else int(targets[position]),
                company=company,
            )

        company = json_digest([name(at, "") for at in positions]) if self.starts else ""
        return {at: name(at, company) for at in asked.wanted}

    def recall(self, names: Mapping[int, str], like: Images) -> Mapping[int, KnownOutcome]:
        """Return what is known, by position.

        Args:
            names: Of the wanted images, by position.
            like: (n, ...) images of the form that examples must have.
        """
        if self._stored is None:
            self._stored = self._read(like)
        stored = self._stored
        return {at: stored[name] for at, name in names.items() if name in stored}

    def keep(self, outcomes: Mapping[str, KnownOutcome]) -> None:
        """Take outcomes; they are written by :meth:`write`."""
        self._fresh.update(outcomes)

    def write(self) -> None:
        """Write what was found out since the last call; where it cannot be written, say so.

        Only after a measurement that raised nothing: an error would be forgotten otherwise.
        """
        if not self._fresh:
            return
        try:
            write_shard(self.directory, self.run, self._fresh)
            evict(self.directory, limit=self.size_limit)
        except OSError as error:
            self.notify(f"cache not written: {error.strerror or error}: {self.directory}")
        self._fresh = {}

    def _read(self, like: Images) -> dict[str, KnownOutcome]:
        def on_damage(path: Path, why: str) -> None:
            shown = path.relative_to(self.directory)
            self.notify(f"cache file {shown} is left aside ({why}); delete it in {self.directory}")

        try:
            return read_shards(self.directory, self.run, like=like, on_damage=on_damage)
        except OSError as error:
            self.notify(f"cache not read: {error.strerror or error}: {self.directory}")
            return {}
