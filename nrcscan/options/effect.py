"""What was given and changes nothing is refused: whoever gave it took it to do something."""

from __future__ import annotations

from collections.abc import Mapping

from nrcscan.errors import UsageError


def require_effect(flags: Mapping[str, object], when: str, remedy: str) -> None:
    """Refuse what was given without effect.

    Args:
        flags: by name; None, False and what is empty were not given.
        when: what takes their effect away, such as "without --baseline".
        remedy: what to do.

    Raises:
        UsageError: an option was given that changes nothing beside the others.
    """
    for flag, given in flags.items():
        if given is not None and given is not False and given != () and given != []:
            raise UsageError(f"{flag} has no effect {when}; {remedy}")
