"""``nrcscan schema``."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from nrcscan.cli.console import emit, placed
from nrcscan.cli.option_groups import Force, Written, takes, words_of

_Document = Literal["report", "scan", "compare", "against", "cut", "between"]


@takes()
def schema(
    document: Annotated[
        _Document,
        typer.Argument(metavar=f"{words_of(_Document)}", help="Of which JSON document."),
    ],
    output: Written = None,
    force: Force = False,
) -> None:
    """Write the JSON Schema of what other programs read.

    Examples:
        nrcscan schema report
        nrcscan schema scan -o scan.schema.json
    """
    from nrcscan.comparing.comparison_schema import against_schema, comparison_schema
    from nrcscan.cutting.between_schema import between_schema
    from nrcscan.cutting.cuts_schema import cut_schema
    from nrcscan.reporting.report_schema import report_schema
    from nrcscan.scanning.scan_schema import scan_schema

    made = {
        "report": report_schema,
        "scan": scan_schema,
        "compare": comparison_schema,
        "against": against_schema,
        "cut": cut_schema,
        "between": between_schema,
    }
    output = placed(output, force=force)
    emit(json.dumps(made[document](), indent=1, ensure_ascii=False) + "\n", output)
