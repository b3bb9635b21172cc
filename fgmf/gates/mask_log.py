"""Gate kind `mask-log`: an audit trail of saliency masks is intact, complete and anchored.

In short::

    report  = verify the log at `path`, held against `head` from outside it
    FAIL          something is tampered with, records are missing, masks cannot be undone,
                  a policy is not kept, a mask that is made again is another
    INCONCLUSIVE  a torn tail after a crash; sampled; nothing fixes what complete would be;
                  nothing from outside stands behind it, or behind its last records;
                  spot checks were asked for, and none could be made
    PASS          everything there, as it was when the head was taken

About no model and no data: a gate file may hold nothing but such gates, and no torch is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

from pydantic import Field, field_validator, model_validator

from fgmf.gates.problems import Misfit, misfits
from fgmf.gates.specification import GateSpecification, RunContext, Share, ShownPictures

if TYPE_CHECKING:
    from fgmf.verdict import Verdict


FACTORY: Final = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"


class MaskLogGate(GateSpecification):
    """The mask log at a path is what it was, and holds everything that its manifest asks for.

    ``MaskLogGate(path="runs/7/mask-log", head="sha256:…").check()`` returns a
    :class:`~fgmf.verdict.Verdict`.
    """

    stands_alone: ClassVar[bool] = True

    kind: Literal["mask-log"] = "mask-log"
    path: Annotated[str, Field(min_length=1)]
    """Directory of the log, relative to the gate file."""
    head: Annotated[str, Field(min_length=1)] | None = None
    """Head of the log, kept outside of it: ``sha256:…``, or the path of a file with its text."""
    public_key: Annotated[str, Field(min_length=1)] | None = None
    """Verifier key of the log's writer, instead of a head: a head that it signed must cover all."""
    unanchored: bool = False
    """Whether a log that nothing from outside stands behind may pass, visibly."""
    complete: bool = True
    """Whether everything that the manifest asks for must be there; `false` asks for integrity."""
    max_erased: Annotated[int, Field(ge=0)] = 0
    """Most samples that may have been erased, with their tombstones."""
    max_age_hours: Annotated[float, Field(gt=0)] | None = None
    """Most hours since the last record of each stream."""
    invertible: bool = True
    """Whether every mask must be one that can be undone; `false` for masks that hide for good."""
    min_saliency_mask: Annotated[float, Field(gt=0, le=1)] | None = None
    """Floor that no mask may be below."""
    protected_below: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Pixels whose mask is lower are protected."""
    min_protected_share: Share | None = None
    """Threshold on the share of protected pixels, the mean over all samples."""
    max_protected_share: Share | None = None
    """The highest that it may be."""
    min_coverage: Share | None = None
    """Threshold on the share of passes that were logged, for logs that leave some out."""
    spot_checks: Annotated[int, Field(ge=0)] = 0
    """Samples whose masks are made again from their input and weights; needs `layer`."""
    layer: Annotated[str, Field(pattern=FACTORY)] | None = None
    """``package.module:function`` that returns the mask layer, for spot checks."""
    pictures: ShownPictures = 0
    """Of how many samples the evidence holds the mask, for reports; they need NumPy and Pillow."""

    @field_validator("public_key")
    @classmethod
    def _key(cls, value: str | None) -> str | None:
        """A key that was cut off while it was copied signs nothing."""
        from fgmf.errors import InvalidInput
        from fgmf.mask_log.signing import VerifierKey

        try:
            return value if value is None else VerifierKey.from_text(value).text()
        except InvalidInput:
            raise ValueError("a verifier key NAME+ID+KEY, as fgmf log keygen prints it") from None

    @model_validator(mode="after")
    def _one_anchor(self) -> MaskLogGate:
        if self.head is not None and self.public_key is not None:
            allowed = "either a `head` or a `public_key`"
            raise misfits(type(self).__name__, [Misfit("public_key", allowed, "both")])
        return self

    @model_validator(mode="after")
    def _layer_for_spot_checks(self) -> MaskLogGate:
        if (self.layer is None) == bool(self.spot_checks):
            allowed = "a `layer` with `spot_checks`, and `spot_checks` with a `layer`"
            raise misfits(type(self).__name__, [Misfit("layer", allowed, self.layer)])
        return self

    @field_validator("head")
    @classmethod
    def _digest(cls, value: str | None) -> str | None:
        """A digest that was cut off while it was copied is no path."""
        from fgmf.mask_log.heads import is_head_digest

        if value is not None and value.startswith("sha256:") and not is_head_digest(value):
            raise ValueError("sha256: and 64 hexadecimal digits, or the path of a head's text")
        return value

    def check(self, *, context: RunContext | None = None) -> Verdict:
        """Verify the log and judge it.

        Args:
            context: Directory that paths are relative to, progress.

        Returns:
            A verdict; ERROR where there is no log, or where it cannot be read.

        Cost: reads every byte of the log once, in flat memory.
        """
        from fgmf.gates.mask_log_check import check_mask_log

        return check_mask_log(self, context or RunContext())
