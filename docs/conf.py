"""Builds the site from the pages as they are: `make docs`.

The pages are written for the hosting site, README first. What only a built site has, the tree of
contents and the reference made from docstrings, is put in here.
"""

from __future__ import annotations

import importlib
import inspect
import re
import shutil
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from sphinx.application import Sphinx
from torch import nn

import nrcscan
from nrcscan.cutting.agreement import Agreement
from nrcscan.extracting.extraction import Extraction

# What is imported for types alone, to be quick where it is not needed.
for module in ("extracting.extract", "extracting.measure", "cutting.write_cut"):
    names = vars(importlib.import_module(f"nrcscan.{module}"))
    names.update(nn=nn, Extraction=Extraction, Agreement=Agreement)
for module in ("comparing.plot", "reporting.report_document"):
    vars(importlib.import_module(f"nrcscan.{module}")).update(Figure=Figure)

project = "nrcscan"
author = "the nrcscan authors"
copyright = f"2026, {author}"
version = release = nrcscan.__version__

root_doc = "README"
PAGES = {
    "Use": [
        "formats",
        "metrics",
        "quantities",
        "verdict",
        "cut",
        "between",
        "figures",
        "page",
        "scan",
    ],
    "Automate": ["training", "ci", "performance", "errors", "reliability"],
    "Reference": ["python", "api", "report-json", "file-format", "../fixtures/README"],
    "Reproduction": ["reproduction", "../reproduction/README"],
    "Project": ["architecture", "../CONTRIBUTING", "policy", "../SECURITY", "../CHANGELOG"],
}
include_patterns = ["*.md", "docs/*.md", "fixtures/README.md", "reproduction/README.md"]
exclude_patterns = [".*", "build", "dist", "demo", "benchmarks", "nrcscan", "tests"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # fixtures/README.md and others begin where they like
smartquotes = False  # what is quoted here is what is typed and shown: --flags, 'names'
default_role = "code"  # of docstrings, where `so` is code
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
napoleon_use_ivar = True

nitpicky = True
nitpick_ignore = [
    ("py:exc", "NothingError"),  # scan raises it; callers catch NrcscanError
    ("py:class", "nrcscan.metrics.directions.Spectrum"),  # heads come fitted
]
nitpick_ignore_regex = [
    (r"py:.*", r"(torch|numpy|pandas|matplotlib|pathlib|collections|typing|os)\..*")
]

html_theme = "furo"
html_title = f"nrcscan {version}"
html_copy_source = False
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_theme_options = {
    "source_repository": "https://github.com/nrcscan/nrcscan/",
    "source_branch": "main",
    "source_directory": "",
}


def add_what_is_made(app: Sphinx, docname: str, source: list[str]) -> None:
    """Call linked pages by title; add the tree of contents, and the reference of the library."""
    source[0] = re.sub(r"\[[\w./-]+\.md\]\((?=[\w./-]+\.md)", "[](", source[0])
    if docname == root_doc:
        source[0] += "".join(
            f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n"
            + "\n".join(str(Path("docs", page)).replace("docs/../", "") for page in pages)
            + "\n```\n"
            for caption, pages in PAGES.items()
        )
    if docname == "docs/api":
        source[0] = re.sub(r"^- `([\w.]+)`.*$", _reference, source[0], flags=re.MULTILINE)


def _reference(line: re.Match[str]) -> str:
    """Return the directive for one name of the lists in docs/api.md."""
    name = line[1].removeprefix("nrcscan.")
    thing = getattr(nrcscan, name) if name in nrcscan.__all__ else HANDED_OUT[name]
    kind = "class" if inspect.isclass(thing) else "function"
    kind = "exception" if name.endswith("Error") else kind
    where = "nrcscan" if name in nrcscan.__all__ else thing.__module__
    if inspect.ismodule(thing):  # the room that is called as its function
        where = f"{thing.__name__}.of_statistics"
    return f"\n```{{eval-rst}}\n.. auto{kind}:: {where}.{name}\n```\n"


def _named(annotation: Any) -> Iterator[type]:
    """Yield every class of ours in a type hint."""
    if inspect.isclass(annotation) and annotation.__module__.startswith("nrcscan"):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _named(part)


def _hints(thing: Any) -> Iterator[Any]:
    """Yield the types in a function's signature, or of a class's attributes and properties."""
    yield from typing.get_type_hints(thing).values()
    if inspect.isclass(thing):
        for _, found in inspect.getmembers(thing, lambda member: isinstance(member, property)):
            yield from typing.get_type_hints(found.fget).values()


def _handed_out() -> dict[str, type]:
    """Return by name the classes that are not public, but that public ones hand out."""
    found: dict[str, type] = {}
    waiting = [getattr(nrcscan, name) for name in nrcscan.__all__ if name != "__version__"]
    while waiting:
        thing = waiting.pop()
        for hint in _hints(thing):
            new = [c for c in _named(hint) if c.__name__ not in {*found, *nrcscan.__all__}]
            found |= {c.__name__: c for c in new}
            waiting += new
    return found


HANDED_OUT = _handed_out()


def readable(app: Sphinx, what: str, name: str, thing: Any, options: Any, *text: str) -> Any:
    """Return a signature, and what it returns, with `...` for defaults that have no name."""
    signature, returned = text
    return signature and re.sub(r"<factory>|<function <lambda>>", "...", signature), returned


def as_text(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Have "N." alone not be taken for the item of a list, nor the * of a path for emphasis."""
    lines[:] = [re.sub(r"^((?::\w+ \w+:)? +\w)\.$", r"\1\\.", line) for line in lines]
    lines[:] = [line.replace("/*/", r"/\*/") for line in lines]


def add_front_page(app: Sphinx, failed: Exception | None) -> None:
    """Have the address of the site itself lead to the first page."""
    if failed is None and app.builder.name == "html":
        shutil.copy(Path(app.outdir, f"{root_doc}.html"), Path(app.outdir, "index.html"))


def setup(app: Sphinx) -> None:
    """Connect the above."""
    app.connect("source-read", add_what_is_made)
    app.connect("autodoc-process-docstring", as_text, priority=900)  # after napoleon's
    app.connect("autodoc-process-signature", readable)
    app.connect("build-finished", add_front_page)
