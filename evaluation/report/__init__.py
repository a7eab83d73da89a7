"""The report of a run: one self-contained HTML page and its figures as JSON, both views of manifests."""

from evaluation.report.data import ReportData, report_data
from evaluation.report.headline import to_json
from evaluation.report.page import to_html

__all__ = ["ReportData", "report_data", "to_html", "to_json"]
