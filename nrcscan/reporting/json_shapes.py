"""The words that JSON Schemas of our documents are written in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Schema = Mapping[str, Any]
"""A JSON Schema, or a part of one."""

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
TEXTS: Schema = {"type": "array", "items": TEXT}
ANYTHING: Schema = {"type": "object"}

HOME = "https://github.com/nrcscan/nrcscan/blob/main/docs/schemas"


def document(name: str, title: str, parts: Mapping[str, Schema], shape: Schema) -> dict[str, Any]:
    """Return the schema of a whole document.

    Args:
        name: of the document's own schema, such as `nrcscan.report/2`.
        title: what the document is.
        parts: what it refers to, by name.
        shape: of the object, but for its `schema`.
    """
    first = {"schema": {"const": name}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{HOME}/{file_of(name)}",
        "title": title,
        **shape,
        "properties": first | shape["properties"],
        "required": ["schema", *shape["required"]],
        "$defs": parts,
    }


def file_of(name: str) -> str:
    """Return the file that a document's schema is kept in.

    >>> file_of("nrcscan.report/2")
    'report-2.json'
    """
    return f"{name.removeprefix('nrcscan.').replace('/', '-')}.json"


def closed(fields: Mapping[str, Schema], optional: Iterable[str] = ()) -> Schema:
    """Return the shape of an object that has these fields and no others."""
    left_out = set(optional)
    return {
        "type": "object",
        "properties": dict(fields),
        "required": [name for name in fields if name not in left_out],
        "additionalProperties": False,
    }


def some_of(names: Iterable[str], shape: Schema) -> Schema:
    """Return the shape of an object that has any of these fields, each of one shape."""
    return {**mapping(shape), "propertyNames": {"enum": list(names)}}


def mapping(shape: Schema) -> Schema:
    """Return the shape of an object that has values of one shape, by names of any kind."""
    return {"type": "object", "additionalProperties": shape}


def or_null(shape: Schema) -> Schema:
    """Return a shape that may be null instead."""
    if isinstance(shape.get("type"), str) and "enum" not in shape:
        return {**shape, "type": [shape["type"], "null"]}
    return {"anyOf": [shape, {"type": "null"}]}


def listing(shape: Schema) -> Schema:
    """Return the shape of a list of one shape."""
    return {"type": "array", "items": shape}


def one_of(words: Iterable[str | None]) -> Schema:
    """Return the shape of one of these words."""
    return {"enum": list(words)}


def part(name: str) -> Schema:
    """Return what refers to a part of the document's schema."""
    return {"$ref": f"#/$defs/{name}"}
