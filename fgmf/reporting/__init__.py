"""Words and documents for verdicts: headline, details, table, JSON report, JUnit properties.

Verdicts come in as values and go out as text; nothing is measured or judged here, and nothing
heavy is imported. `comparison`, the words for what changed since a baseline, is imported by
those who compare.
"""

from __future__ import annotations

from fgmf.reporting.details import render_details, render_findings
from fgmf.reporting.document import encode_report, report_document
from fgmf.reporting.headline import render_headline
from fgmf.reporting.junit import junit_properties
from fgmf.reporting.schema import REPORT_SCHEMA, report_schema
from fgmf.reporting.table import render_table
from fgmf.reporting.text import printable

__all__ = [
    "REPORT_SCHEMA",
    "encode_report",
    "junit_properties",
    "printable",
    "render_details",
    "render_findings",
    "render_headline",
    "render_table",
    "report_document",
    "report_schema",
]
