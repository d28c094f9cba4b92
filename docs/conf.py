"""Builds the site from the pages as they are: `make docs`.

The pages are written for the hosting site, README first. What only a built site has, the tree of
contents and the reference made from docstrings, is put in here.
"""

from __future__ import annotations

import inspect
import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx

import nrcscan

project = "nrcscan"
author = "the nrcscan authors"
copyright = f"2026, {author}"
version = release = nrcscan.__version__

root_doc = "README"
PAGES = {
    "Use": ["formats", "metrics", "verdict", "scan", "ci", "performance", "errors"],
    "Reference": ["api", "report-json", "file-format"],
    "Project": ["architecture", "../CONTRIBUTING", "policy", "../SECURITY", "../CHANGELOG"],
}
include_patterns = ["*.md", "docs/*.md", "fixtures/README.md"]
exclude_patterns = [".*", "build", "dist", "demo", "benchmarks", "nrcscan", "tests"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # fixtures/README.md and others begin where they like
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_use_ivar = True

nitpicky = True
nitpick_ignore_regex = [
    # Other libraries' names, and private ones of ours.
    (r"py:.*", r"(torch|np|numpy|npt|numpy\.typing|pathlib|collections|typing)\..*"),
]

html_theme = "furo"
html_title = f"nrcscan {version}"
html_copy_source = False
html_theme_options = {
    "source_repository": "https://github.com/nrcscan/nrcscan/",
    "source_branch": "main",
    "source_directory": "",
}


def add_what_is_made(app: Sphinx, docname: str, source: list[str]) -> None:
    """Add the tree of contents to the first page, and the reference to the page of the API."""
    if docname == root_doc:
        source[0] += "".join(
            f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n"
            + "\n".join(str(Path("docs", page)).replace("docs/../", "") for page in pages)
            + "\n```\n"
            for caption, pages in PAGES.items()
        )
    if docname == "docs/api":
        source[0] = re.sub(r"^- `nrcscan\.(\w+)`.*$", _reference, source[0], flags=re.MULTILINE)


def _reference(line: re.Match[str]) -> str:
    """Return the directive for one name of the list in docs/api.md."""
    name = line[1]
    kind = "class" if inspect.isclass(getattr(nrcscan, name)) else "function"
    kind = "exception" if name.endswith("Error") else kind
    return f"\n```{{eval-rst}}\n.. auto{kind}:: nrcscan.{name}\n```\n"


def add_front_page(app: Sphinx, failed: Exception | None) -> None:
    """Have the address of the site itself lead to the first page."""
    if failed is None and app.builder.name == "html":
        shutil.copy(Path(app.outdir, f"{root_doc}.html"), Path(app.outdir, "index.html"))


def setup(app: Sphinx) -> None:
    """Connect the above."""
    for name in nrcscan.__all__:  # types in signatures are called as users call them
        if inspect.isclass(thing := getattr(nrcscan, name)):
            thing.__module__ = "nrcscan"
    app.connect("source-read", add_what_is_made)
    app.connect("build-finished", add_front_page)
