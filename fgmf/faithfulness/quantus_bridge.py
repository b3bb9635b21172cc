"""The bridge to Quantus: the only module that imports it.

Quantus sees the classifier through `_Model`, in float64, inside the classifier's guard. Maps are
divided by their own largest value where Quantus divides by that of the batch, so that a score does
not depend on which images are beside it. What can't be mended by arguments is replaced while a
metric runs, under a lock, and put back: NumPy 2 dropped what the areas under curves were computed
with, checks of maps are ours (they name the image; Quantus refuses a batch of negative maps), and
models are wrapped by us (Quantus rounds images to float32, guesses from the modules whether
softmax is applied, and keeps every model that it has seen). `quantus_metrics` says which arguments
each metric gets.
"""

from __future__ import annotations

import threading
import warnings
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import quantus
from quantus.functions.perturb_func import noisy_linear_imputation
from quantus.functions.similarity_func import ssim
from quantus.helpers import asserts as quantus_asserts
from quantus.helpers import utils as quantus_utils
from quantus.helpers.model.model_interface import ModelInterface

from fgmf.errors import InvalidInput
from fgmf.faithfulness.quantus_model import (
    explain_again,
    hidden_outputs,
    predict,
    randomised_layers,
    resettable_layers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from fgmf.classifier import Classifier
    from fgmf.faithfulness.task import MetricTask

    Floats = NDArray[np.float64]

_LOCK = threading.RLock()
LARGEST_BATCH = 64


def run_metric(task: MetricTask, part: slice, metric: Any) -> Any:  # noqa: ANN401 - Quantus' result
    """Hand copies to a metric, for some of them change what they are given.

    Args:
        task: Images and maps.
        part: Which of the images.
        metric: Of :func:`make_metric`.

    Returns:
        What the metric returned.
    """
    explained = task.explained
    again = explained.explain
    regions = explained.regions

    def explain_func(
        model: Classifier, inputs: Floats, targets: NDArray[np.int64], **_: object
    ) -> Floats:
        if again is None:
            raise InvalidInput(f"expected an explainer for {task.entry.name}, got none")
        return explain_again(again, model, inputs, targets)

    count = part.stop - part.start
    labelled = {} if regions is None else {"s_batch": regions[part][:, None].numpy().copy()}
    return metric(
        model=task.classifier,
        x_batch=explained.images[part].double().numpy().copy(),
        y_batch=explained.targets[part].numpy().copy(),
        a_batch=explained.maps[part].double().numpy()[:, None].copy(),
        channel_first=True,
        explain_func=explain_func,
        softmax=task.entry.output == "probability",
        batch_size=count if task.entry.scope != "image" else min(LARGEST_BATCH, count),
        **labelled,
    )


class _Model(ModelInterface):  # type: ignore[misc] # Quantus is not followed by the type checker
    """A classifier with the face that Quantus wants; abstract methods that it never calls raise."""

    def __init__(self, classifier: Classifier, *, softmax: bool) -> None:
        super().__init__(model=classifier, channel_first=True, softmax=softmax)

    def predict(self, x: Floats, **_: object) -> Floats:
        return predict(self.model, x, softmax=self.softmax)

    def shape_input(self, x: Floats, shape: tuple[int, ...], *_: object, **__: object) -> Floats:
        return x.reshape(shape)

    def get_model(self) -> Classifier:
        found: Classifier = self.model
        return found

    def get_softmax_arg_model(self) -> Classifier:
        return self.get_model()

    def state_dict(self) -> dict[str, Any]:
        module = self.get_model().module
        return {} if module is None else dict(module.state_dict())

    @property
    def random_layer_generator_length(self) -> int:
        module = self.get_model().module
        return 0 if module is None else len(resettable_layers(module))

    def get_random_layer_generator(
        self, order: str = "top_down", seed: int = 42
    ) -> Iterator[tuple[str, Classifier]]:
        return randomised_layers(self.get_model(), order=order, seed=seed)

    def get_hidden_representations(self, x: Floats, *_: object, **__: object) -> Floats:
        return hidden_outputs(self.get_model(), x)

    def add_mean_shift_to_first_layer(self, *_: object, **__: object) -> None:
        raise InvalidInput(
            "expected a metric of the catalogue, got one that shifts the input of a layer, which "
            "none of those does; choose another"
        )


@contextmanager
def mended_quantus() -> Iterator[None]:
    """Put our parts in the place of Quantus' for as long as a metric runs."""

    def wrapped(model: Classifier, channel_first: bool, softmax: bool, **_: object) -> _Model:  # noqa: ARG001, FBT001 - Quantus' names
        return _Model(model, softmax=softmax)

    def area(values: Any, dx: int = 1, batched: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - Quantus' names
        rows = np.asarray(values, dtype=np.float64)
        inner = dx * (rows.sum(axis=-1) - (rows[..., 0] + rows[..., -1]) / 2)
        return inner if batched else float(inner)

    def unchecked(*_: object, **__: object) -> None:
        """Maps were checked before, image by image."""

    with ExitStack() as stack:
        stack.enter_context(_LOCK)
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(np.errstate(all="ignore"))
        warnings.simplefilter("ignore")
        for module, name, ours in (
            (quantus_utils, "get_wrapped_model", wrapped),
            (quantus_utils, "calculate_auc", area),
            (quantus_asserts, "assert_attributions", unchecked),
        ):
            stack.enter_context(mock.patch.object(module, name, ours))
        yield


def make_metric(task: MetricTask, arguments: Mapping[str, object]) -> Any:  # noqa: ANN401 - an object of Quantus
    """Make the metric of Quantus; maps are normalised one by one where a score is about one.

    Args:
        task: Says which metric.
        arguments: Of the constructor.
    """
    metric_class = getattr(quantus, task.entry.quantus_class)
    own_axes = {"normalise_func_kwargs": {"normalise_axes": (1, 2, 3)}}
    return metric_class(
        disable_warnings=True,
        display_progressbar=False,
        return_aggregate=False,
        **(own_axes if task.entry.scope == "image" else {}),
        **arguments,
    )


def make_road_per_image(arguments: Mapping[str, object]) -> Any:  # noqa: ANN401 - an object of Quantus
    """Make ROAD so that it keeps images apart; Quantus averages those of the first batch."""

    class PerImage(quantus.ROAD):  # type: ignore[misc] # not followed by the type checker
        def custom_postprocess(self, **_: object) -> None:
            """Leave the answers as they are."""

    return PerImage(disable_warnings=True, **arguments)


impute_linearly: Callable[..., Floats] = noisy_linear_imputation
structural_similarity: Callable[..., float] = ssim
