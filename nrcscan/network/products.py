"""Products that are a linear layer's, however they are written: einsum, tensordot, W @ x."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from string import ascii_letters
from typing import Any, NamedTuple

import torch
from torch import Tensor

_aten = torch.ops.aten


class Product(NamedTuple):
    """A product of features with a weight.

    Attributes:
        operand: the tensor that the operation is given as the weight.
        weight: the same as a matrix (out, in).
        origin: the tensor that the operation is given as the features.
        features: the same, its last axis the one that is multiplied: (…, in).
    """

    operand: Tensor
    weight: Tensor
    origin: Tensor
    features: Tensor


def product_of(packet: Any, args: Sequence[Any], known: Callable[[Tensor], Any]) -> Product | None:
    """Return the product that an operation is, or None if it is none that a layer makes.

    Args:
        packet: the operation.
        args: its arguments.
        known: says whether a tensor is a weight of the network.
    """
    if packet is _aten.einsum and len(args[1]) == 2:
        terms, _, out = args[0].replace(" ", "").partition("->")
        return _contraction(terms.split(","), out if "->" in args[0] else None, args[1], known)
    if packet is _aten.tensordot:
        terms = _terms(args)
        out = "".join(a for term, other in (terms, terms[::-1]) for a in term if a not in other)
        return _contraction(terms, out, args[:2], known)
    if packet in (_aten.mm, _aten.matmul) and args[0].ndim == 2 <= args[1].ndim:
        weight, features = args[:2]  # W @ x, the features in columns
        if known(weight) and not known(features):
            return Product(weight, weight, features, features.transpose(-1, -2))
    return None


def _terms(args: Sequence[Any]) -> list[str]:
    """Return the letters of both operands of a tensordot."""
    left, right, ours, theirs = args[:4]
    first = ascii_letters[: left.ndim]
    second = list(ascii_letters[left.ndim : left.ndim + right.ndim])
    for mine, other in zip(ours, theirs, strict=True):
        second[other] = first[mine]
    return [first, "".join(second)]


def _contraction(
    terms: Sequence[str],
    out: str | None,
    operands: Sequence[Tensor],
    known: Callable[[Tensor], Any],
) -> Product | None:
    """Return the product that an einsum of two operands is.

    Each axis of the weight is either summed over, and the features have it too, or the result's
    alone: else each sample, head or position would have a weight of its own.
    """
    if known(operands[0]) and not known(operands[1]):
        terms, operands = terms[::-1], operands[::-1]
    features, weight = operands
    if out is None or not known(weight) or known(features) or "." in terms[1]:
        return None
    term, theirs = terms
    others = sorted(set(ascii_letters) - set(term + theirs + out))
    term = term.replace("...", "".join(others[: features.ndim - len(term.replace("...", ""))]))
    summed = [a for a in theirs if a in term and a not in out]
    free = [a for a in theirs if a not in term and a in out]
    if not summed or not free or len({*summed, *free}) < len(theirs) or len({*term}) < len(term):
        return None
    kept = [a for a in term if a not in summed]
    size = math.prod(weight.shape[theirs.index(a)] for a in summed)
    arranged = features.permute([term.index(a) for a in (*kept, *summed)])
    matrix = weight.permute([theirs.index(a) for a in (*free, *summed)])
    rows = arranged.reshape(*arranged.shape[: len(kept)], size)
    return Product(weight, matrix.reshape(-1, size), features, rows)
