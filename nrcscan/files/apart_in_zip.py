"""Refuses zip archives whose members lie over one another: a few bytes that stand for many."""

from __future__ import annotations

import zipfile
from itertools import pairwise

_HEADER = 30
"""Bytes before a member's name, which are the least that stand before its content."""


def require_apart(archive: zipfile.ZipFile) -> None:
    """Refuse an archive in which one member begins before another has ended.

    Python looks for that itself only from 3.11.8 and 3.12.2 on (CVE-2024-0450).

    Raises:
        zipfile.BadZipFile: two members overlap.
    """
    members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    for one, following in pairwise(members):
        if one.header_offset + _HEADER + one.compress_size > following.header_offset:
            raise zipfile.BadZipFile(f"{one.filename} and {following.filename} overlap")
