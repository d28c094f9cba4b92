"""Values as JSON that is shown as it is: what would steer a terminal or a build log is escaped."""

from __future__ import annotations

import json
import re
from typing import Any

_STEERING = re.compile(r"\x7f|#(?=#\w*\[)")


def json_text(value: Any, indent: int | None = None) -> str:
    r"""Return a value as JSON in ASCII, from which it is read back exactly.

    What JSON does not escape by itself is the control character DEL, and the `##[` that begins a
    command of a build wherever it stands in a line of its log.

    Args:
        value: without numbers that are not finite.
        indent: of each level; None for one line.

    Raises:
        ValueError: a number is not finite.

    >>> print(json_text({"##[error]": "\x7f\x1b"}))
    {"\u0023#[error]": "\u007f\u001b"}
    """
    text = json.dumps(value, indent=indent, allow_nan=False)
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
