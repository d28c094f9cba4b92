"""HTML and SVG, built of elements: whatever is no markup already is escaped on its way in."""

from __future__ import annotations

import html

from nrcscan.wording import printable


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Child = Markup | str | float
Attribute = str | float | bool | None


def text(value: object) -> Markup:
    """Return a value as text of a page: on one line, no control or direction character in it.

    >>> text('<img src=x onerror=alert(1)>')
    '&lt;img src=x onerror=alert(1)&gt;'
    """
    return Markup(html.escape(printable(str(value))))


def together(*children: Child) -> Markup:
    """Return children one after the other."""
    return Markup("".join(c if isinstance(c, Markup) else text(c) for c in children))


def element(name: str, /, *children: Child, **attributes: Attribute) -> Markup:
    """Return an element.

    Args:
        name: of it.
        children: what is in it.
        attributes: by name, an underscore for a hyphen, and one at the end for none; True is the
            name alone, False and None are nothing.

    >>> element("td", "a < b", class_="left", data_v=1)
    '<td class="left" data-v="1">a &lt; b</td>'
    """
    given = "".join(_attribute(key, value) for key, value in attributes.items())
    inside = together(*children)
    if not children and name in _VOID:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{inside}</{name}>")


_VOID = frozenset({"input", "meta", "br"})


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{text(value)}"'


def coded(words: str) -> Markup:
    """Return words in which `…` stands for code.

    >>> coded("that of `cka` & more")
    'that of <code>cka</code> &amp; more'
    """
    parts = words.split("`")
    return together(*(element("code", p) if i % 2 else p for i, p in enumerate(parts)))


def name_of(layer: str) -> Markup:
    """Return a name from a file, whose letters' direction moves nothing around it."""
    return element("bdi", layer, class_="name")
