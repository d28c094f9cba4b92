"""What weights hold that a plain chain of layers would leave out, or fit in although it is none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from nrcscan.network.chain import Block, linear_shapes
from nrcscan.wording import listed

_ADAPTER = re.compile(r"lora_|loha_|lokr_|hada_|oft_|ia3_|adapter", re.IGNORECASE)
"""In the name of a weight that acts on another, and is no layer of its own."""

_APART = re.compile(
    r"(^|_)(loss|losses|criterion|ema|shadow|teacher|target|averaged|swa|discriminator"
    r"|optimizer|metric|metrics)(_|\d|$)",
    re.IGNORECASE,
)
"""A part of a name that says: beside the network, or a copy of it."""


def unused(blocks: Sequence[Block]) -> str | None:
    """Say what a chain would leave out or fit in although it is none of it, or None."""
    for found, why in (
        (
            _told(lone(blocks)),
            "a 1-D weight alone shows no LayerNorm, and may be of a loss or a PReLU:",
        ),
        (_told(adapters(blocks)), "weights that act on others:"),
        (_told(strange(blocks)), ""),
        (_told(beside(blocks)), "beside the network, or copies of it:"),
        (_repeated(blocks), ""),
    ):
        if found:
            return f"{why} {listed(found)}".strip()
    return None


def _told(blocks: Iterable[Block]) -> list[str]:
    return [f"{block.name or 'the top level'} ({block.shapes})" for block in blocks]


def lone(blocks: Sequence[Block]) -> list[Block]:
    """Return blocks of a 1-D weight alone."""
    return [b for b in blocks if set(b.tensors) == {"weight"} and b.tensors["weight"].ndim == 1]


def adapters(blocks: Sequence[Block]) -> list[Block]:
    """Return blocks that hold an adapter of another weight, or are in one."""
    return [
        block
        for block in blocks
        if any(_ADAPTER.match(part) for part in (*block.name.split("."), *block.tensors))
    ]


def strange(blocks: Sequence[Block]) -> list[Block]:
    """Return blocks that are no layer of a chain."""
    return [
        block
        for block in blocks
        if block.kind is None or "training" in block.name.split(".")  # which every module has
    ]


def beside(blocks: Sequence[Block]) -> list[Block]:
    """Return blocks whose name says that they are beside others which are the network."""
    apart = [block for block in blocks if any(map(_APART.search, block.name.split(".")))]
    return [] if len(apart) == len(blocks) else apart


def _repeated(blocks: Sequence[Block]) -> list[str]:
    """Return parts that begin alike, which may be copies, branches, or blocks with a skip.

    Parts are what stands under one name, at any depth; a part of a single Linear layer is none.
    """
    seen: dict[tuple[str, tuple[int, int]], tuple[str, list[tuple[int, int]]]] = {}
    for name, own in parts(blocks).items():
        shapes = linear_shapes(own)
        if len(shapes) < 2:
            continue
        first, before = seen.setdefault((name.rpartition(".")[0], shapes[0]), (name, shapes))
        if first != name:
            shown = " → ".join(map(str, [shapes[0][0], *(out for _, out in shapes)]))
            begin = " → ".join(map(str, shapes[0]))
            alike = f"both are {shown}" if shapes == before else f"both begin {begin}"
            return [
                f"{first} and {name} may be copies, branches, or blocks with a skip connection,"
                f" as {alike}"
            ]
    return []


def parts(blocks: Sequence[Block]) -> dict[str, list[Block]]:
    """Return what stands under one name, at any depth, by that name."""
    parts: dict[str, list[Block]] = {}
    for block in blocks:
        names = block.name.split(".")
        for depth in range(1, len(names)):
            parts.setdefault(".".join(names[:depth]), []).append(block)
    return parts
