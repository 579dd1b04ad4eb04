"""Reports: one HTML file each that opens anywhere, without a network, light and dark, by keyboard
and by ear.

`write_report` makes one of a finished run. `page.render` and the templates in `pages/` are shared
with the report of the whole suite (`paper_figures.suite_report`).
"""

from scoter.report.run_report import write_report

__all__ = ["write_report"]
