"""Gate kind `provenance`: an exported file is the one that was gated, logged or signed.

In short::

    report  = every tensor, node and field of the file against its own digests,
              and these against the mask log under a head from outside, or a signature
    FAIL          something is another; no or another record stands outside; a gate did not pass
    INCONCLUSIVE  it agrees with itself, and nothing from outside stands behind it; no provenance
    PASS          it is what stands outside

About no model and no data: the file is read, not run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from fgmf.gates.problems import Misfit, misfits
from fgmf.gates.specification import GateSpecification, RunContext

if TYPE_CHECKING:
    from fgmf.verdict import Verdict

Text = Annotated[str, Field(min_length=1)]


class ProvenanceGate(GateSpecification):
    """An exported file is what a mask log or a signature outside of it says.

    ``ProvenanceGate(artefact="model.onnx", log="runs/7/mask-log", head="sha256:…").check()``
    returns a :class:`~fgmf.verdict.Verdict`.
    """

    stands_alone: ClassVar[bool] = True

    kind: Literal["provenance"] = "provenance"
    artefact: Annotated[str, Field(pattern=r"\.(onnx|tflite)$")]
    """The exported ``.onnx`` or ``.tflite`` file, relative to the gate file."""
    log: Text | None = None
    """Directory of the mask log that names the file, relative to the gate file."""
    head: Text | None = None
    """Head of that log, kept outside of it: ``sha256:…``, or the path of a file with its text."""
    public_key: Text | None = None
    """Verifier key: of the log's writer, or of the signature beside the file."""
    signature: Text | None = None
    """File of the signature, relative to the gate file; by default the file's name and ``.sig``."""
    gates: tuple[str, ...] = ()
    """Names of gates whose verdicts on the source the file must record as PASS."""

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

    @field_validator("head")
    @classmethod
    def _digest(cls, value: str | None) -> str | None:
        """A digest that was cut off while it was copied is no path."""
        from fgmf.mask_log.heads import is_head_digest

        if value is not None and value.startswith("sha256:") and not is_head_digest(value):
            raise ValueError("sha256: and 64 hexadecimal digits, or the path of a head's text")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> ProvenanceGate:
        problems = []
        if self.head is not None and self.log is None:
            problems.append(Misfit("head", "the `log` that it belongs to", "a head alone"))
        if self.head is not None and self.public_key is not None:
            problems.append(Misfit("public_key", "either a `head` or a `public_key`", "both"))
        if self.signature is not None and (self.log is not None or self.public_key is None):
            allowed = "a `public_key` with it, and no `log`"
            problems.append(Misfit("signature", allowed, self.signature))
        if problems:
            raise misfits(type(self).__name__, problems)
        return self

    def check(self, *, context: RunContext | None = None) -> Verdict:
        """Verify the file and judge it.

        Args:
            context: Directory that paths are relative to.

        Returns:
            A verdict; ERROR where the file or the log cannot be read.

        Cost: reads the file, and every byte of the log.
        """
        from fgmf.gates.provenance_check import check_provenance

        return check_provenance(self, context or RunContext())
