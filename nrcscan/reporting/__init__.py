"""From a file of statistics to a report, and the report as table, JSON, CSV or Markdown."""
