"""The table ``[defence]`` of a recipe file: one pydantic model per defence, by name.

Each says its hyper-parameters with their ranges, and builds the recipe of `fgmf.training` that it
is about. Torch is imported when a recipe is built, not when a file is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fgmf.pipeline.adversarial_defences import (
    AmoTable,
    FgsmRsTable,
    NFgsmTable,
    PgdTable,
    ScorPio2Table,
    ScorpioTable,
    StandardTable,
    TradesTable,
)
from fgmf.pipeline.other_defences import (
    CureTable,
    DefensiveDistillationTable,
    GradAlignTable,
    GradientPenaltyTable,
    GuidedTable,
    LlrTable,
    SaliencyGuidedTable,
    SmoothedTable,
    SmoothingDistillationTable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.pipeline.defence_tables import DefenceTable

DEFENCES: Final[Mapping[str, type[DefenceTable]]] = {
    "standard": StandardTable,
    "fgsm-rs": FgsmRsTable,
    "n-fgsm": NFgsmTable,
    "pgd": PgdTable,
    "trades": TradesTable,
    "cure": CureTable,
    "llr": LlrTable,
    "gradient-penalty": GradientPenaltyTable,
    "grad-align": GradAlignTable,
    "scorpio": ScorpioTable,
    "amo": AmoTable,
    "scor-pio-2": ScorPio2Table,
    "saliency-guided": SaliencyGuidedTable,
    "smoothed": SmoothedTable,
    "defensive-distillation": DefensiveDistillationTable,
    "smoothing-distillation": SmoothingDistillationTable,
    "guided-distillation": GuidedTable,
}
