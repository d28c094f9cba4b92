"""One self-contained HTML page of a report or a scan: what a stranger opens first."""
