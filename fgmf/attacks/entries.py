"""What is said of an attack that a gate can name: plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from fgmf.parameters import Parameter, Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.types import Norm

__all__ = ["CatalogueEntry", "Engine", "Parameter", "Value"]

Engine = Literal["foolbox", "own", "outside", "extension"]


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """An attack by name.

    Attributes:
        name: Name in gate files and reports.
        title: Name in headlines.
        engine: What carries it out: Foolbox, the project's own engine, a source outside the gated
            model (`sources`), or another package.
        made_for: Norms that the attack is made for; of Foolbox attacks those of the classes.
        foolbox_classes: Foolbox class for each norm.
        needs_gradient: False for score- and decision-based attacks.
        minimum_norm: True if it looks for the smallest perturbation rather than the largest
            loss inside the ball.
        random: True if restarts can differ.
        needs_start: True if it walks from a given misclassified image.
        targeted: True if it can aim at a class.
        follows_margin: True if it follows differences of logits, or sees scores alone, so that a
            saturated cross-entropy does not blind it.
        whole_list: True if it is given many images at once and does batches and restarts on
            its own; False if it is called once per batch and restart.
        one_by_one: True if Foolbox's arithmetic mixes the images of a batch, so that a result
            would depend on its neighbours; such an attack sees one image at a time.
        constraint_argument: True if its constructor takes the norm.
        parameters: Its parameters with defaults.
        fixed: Constructor arguments that are not the user's to set, with the reason in the
            bridge.
    """

    name: str
    title: str
    engine: Engine = "foolbox"
    made_for: tuple[Norm, ...] = ()
    foolbox_classes: Mapping[Norm, str] = field(default_factory=dict)
    needs_gradient: bool = True
    minimum_norm: bool = False
    random: bool = True
    needs_start: bool = False
    targeted: bool = True
    follows_margin: bool = False
    whole_list: bool = False
    one_by_one: bool = False
    constraint_argument: bool = False
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    fixed: Mapping[str, object] = field(default_factory=dict)

    @property
    def norms(self) -> tuple[Norm, ...]:
        """Norms that the attack is made for."""
        return self.made_for or tuple(self.foolbox_classes)
