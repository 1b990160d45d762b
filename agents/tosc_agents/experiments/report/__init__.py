"""Findings as one self-contained HTML file, Markdown, JSON and CSV.

============  ============================================================================================
``data``      the heading; findings as plain values and back; one flat table of all rows
``pictures``  which pictures may be shown, and their bytes
``text``      cells, titles and sentences escaped for HTML and for Markdown
``html``      ``report.html``: opens offline, tables sort
``markdown``  ``report.md``
``write``     all four files of a result folder
============  ============================================================================================
"""

from tosc_agents.experiments.report.data import ReportHeading, read_findings
from tosc_agents.experiments.report.write import write_report

__all__ = ["ReportHeading", "read_findings", "write_report"]
