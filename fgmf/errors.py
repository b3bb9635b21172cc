"""Every error that the library raises on purpose.

One root, :class:`FgmfError`, so that a caller can catch them all. The three ``Gate…``
exceptions are how a verdict leaves a test: only :class:`GateFailure` is an ``AssertionError``,
because only a measured failure may look like a failed assertion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class FgmfError(Exception):
    """Root of the errors that the library raises on purpose."""


class InvalidInput(FgmfError, ValueError):
    """An argument or a data set is not what the function can work with."""


class MissingDependency(FgmfError, ImportError):
    """An optional package is needed for what was asked."""


class GradientUnavailable(FgmfError):
    """A gradient was asked of a model that cannot give one (ONNX file, blocked graph)."""


class NonFiniteOutput(FgmfError):
    """The model returned NaN or infinite logits."""


class ModelStateChanged(FgmfError):
    """The model's state was changed while it was measured; it has been put back."""


class AttackFailed(FgmfError):
    """An attack could not be carried out. Never evidence of robustness."""


class MetricFailed(FgmfError):
    """A metric of explanations has no value for some image. Never evidence of faithfulness."""


class BudgetSpent(FgmfError):
    """A time budget ran out before the measurement was complete."""


class FactoryFailed(FgmfError):
    """A model or data factory named in a gate file raised, or returned something unusable."""


class ProcessLost(FgmfError):
    """One of several processes that share a run is gone, or could not do its part."""


class NotCacheable(FgmfError):
    """What could change an outcome cannot be told apart, so outcomes are not cached."""


class StaleEvidence(FgmfError):
    """Saved evidence does not match its recorded digest, model, or schema."""


class MaskLogUnwritable(FgmfError):
    """A record of a mask log could not be written: what it was about is not logged."""


class MaskLogUnreadable(FgmfError):
    """There is no mask log at a path, or it cannot be read."""


class BrokenRecord(FgmfError):
    """A line, array or text of a mask log is not what its digest says, or no record at all."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One invalid field: where it stands, what came, and what is allowed."""

    location: str
    got: str
    expected: str

    def __str__(self) -> str:
        """One line, for a list of problems."""
        return f"{self.location}: expected {self.expected}, got {self.got}"


class InvalidGateFile(FgmfError):
    """A gate file, or a gate written in Python, breaks its schema: all problems at once."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        """Collect the `problems` found in `source` (a path or the name of a class)."""
        self.source = source
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        count = len(self.problems)
        noun = "problem" if count == 1 else "problems"
        super().__init__(f"{source}: {count} {noun} in the gate specification\n{lines}")

    def __reduce__(self) -> tuple[type[InvalidGateFile], tuple[str, tuple[Problem, ...]]]:
        """Pickle by what the error was made of, so that it can cross processes."""
        return type(self), (self.source, self.problems)


class InvalidRecipeFile(FgmfError):
    """A recipe file of a training breaks its schema: all problems at once."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        """Collect the `problems` found in `source`, a path."""
        self.source = source
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        count = f"{len(self.problems)} problem" + ("" if len(self.problems) == 1 else "s")
        super().__init__(f"{source}: {count} in the recipe\n{lines}")

    def __reduce__(self) -> tuple[type[InvalidRecipeFile], tuple[str, tuple[Problem, ...]]]:
        """Pickle by what the error was made of, so that it can cross processes."""
        return type(self), (self.source, self.problems)


class InvalidBaseline(StaleEvidence):
    """A baseline file is damaged, or of another format: all problems at once."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        """Collect the `problems` found in `source`, a path."""
        self.source = source
        self.problems = tuple(problems)
        count = f"{len(self.problems)} problem" + ("s" if len(self.problems) > 1 else "")
        super().__init__(f"{source}: {count} in the baseline: {'; '.join(self.problems)}")

    def __reduce__(self) -> tuple[type[InvalidBaseline], tuple[str, tuple[str, ...]]]:
        """Pickle by what the error was made of, so that it can cross processes."""
        return type(self), (self.source, self.problems)


class GateFailure(AssertionError):
    """The gate measured and its threshold is missed: outcome FAIL, and only that."""


class GateInconclusive(FgmfError):
    """The evidence decides neither way: outcome INCONCLUSIVE."""


class GateError(FgmfError):
    """The gate could not be measured: outcome ERROR."""


class GateRegression(GateFailure):
    """The gate measured and lost more against its baseline than is allowed."""
