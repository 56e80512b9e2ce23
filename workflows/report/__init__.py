"""The report of a campaign: one self-contained HTML file and a short table for the terminal."""

from workflows.report.html import write_report
from workflows.report.summary import Summary, print_summary, summarise

__all__ = ["Summary", "print_summary", "summarise", "write_report"]
