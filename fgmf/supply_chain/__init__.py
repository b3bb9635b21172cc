"""Reports in the forms that supply chains read: statements, bills of materials, model cards.

    report       what a JSON report says, checked
    in_toto      a test-result statement about the gated model; `dsse` signs it
    cyclonedx    an ML bill of materials with performance metrics and their intervals
    model_card   `model-index` rows and a section for Hugging Face
    support      which gate supports evidence for which part of which rule book; never compliance

All are made from a report that lies on disk, so that what is signed is what was reported. No torch.
"""

from __future__ import annotations

from fgmf.supply_chain.cyclonedx import bill_of_materials
from fgmf.supply_chain.dsse import sign_statement, verify_envelope
from fgmf.supply_chain.in_toto import statement_of_results
from fgmf.supply_chain.model_card import model_index, render_model_card
from fgmf.supply_chain.report import EvidenceReport, read_report
from fgmf.supply_chain.support import SUPPORT, Support

__all__ = [
    "SUPPORT",
    "EvidenceReport",
    "Support",
    "bill_of_materials",
    "model_index",
    "read_report",
    "render_model_card",
    "sign_statement",
    "statement_of_results",
    "verify_envelope",
]
