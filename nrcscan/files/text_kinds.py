"""Which kind of text a file holds, told by how it begins."""

from __future__ import annotations

import codecs
import json
import re

TEXT = "a text file"
TABLE = "a table in text (CSV)"
_LFS = "version https://git-lfs"
_AGAIN = "download it again: the server answered with a page"
_CODE = re.compile(r"(from \w[\w.]* import |import \w|def \w+\(|class \w+[(:]|#!.*python)", re.M)
# Blank lines are taken in one way alone: where there are many, trying all ways never ends.
_YAML = re.compile(r"(?:---[^\S\n]*\n)?(?:#.*\n|[^\S\n]*\n)*[A-Za-z_][\w .-]*:(?:\s.*)?(?:\n|$)")
_FRONT_MATTER = re.compile(r"---[^\S\n]*\n(?:.*\n)*?---[^\S\n]*\n")
_CONTROL = set(range(32)) - set(b"\t\n\r\x0b\x0c\x1b")


def told(start: bytes) -> tuple[str, str] | None:
    """Return which text a file is that begins like this, and the next step; None if it is none.

    >>> told(b"version https://git-lfs.github.com/spec/v1")
    ('a Git LFS pointer, not the file itself', 'get the file with git lfs pull')
    >>> told(b'{"a": 1}'), told(bytes([0, 1]))
    (('JSON text', ''), None)
    """
    text = _text(start)
    if text is None:
        return None
    lower = text.lstrip("\ufeff \t\r\n").lower()
    if lower.startswith(_LFS):
        return "a Git LFS pointer, not the file itself", "get the file with git lfs pull"
    if lower.startswith(("<!doctype html", "<html")):
        return "a web page (HTML), not the file itself", _AGAIN
    if lower.startswith("<?xml") or re.match(r"<[a-z]\w*[ >/]", lower):
        return "XML text", ""
    if lower.startswith(("{", "[")) and _is_json(lower):
        return "JSON text", ""
    if _CODE.match(text.lstrip("\ufeff")) or lower.startswith("#!"):
        return "a program's source text", ""
    if _is_table(text):
        return TABLE, ""
    if _YAML.match(text) and not _FRONT_MATTER.match(text):
        return "YAML text", ""
    return TEXT, ""


def _text(start: bytes) -> str | None:
    """Return what begins a file as UTF-8 text; None if it is none."""
    if set(start) & _CONTROL:
        return None
    try:  # a character may be cut at the end of what was read
        return codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return None


def _is_json(text: str) -> bool:
    """Whether this is JSON, or the beginning of it."""
    try:
        json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        return error.pos >= len(text) - 1 or error.msg.startswith("Unterminated")
    except (ValueError, RecursionError):  # JSON all the same, but not to be read
        return True
    return True


def _is_table(text: str) -> bool:
    """Whether the first lines have the same number of separators, and at least one."""
    lines = text.splitlines()[:3]
    counts = [{line.count(mark) for line in lines} for mark in ",;\t"]
    return len(lines) > 1 and any(len(found) == 1 and 0 not in found for found in counts)
