"""What pickles of tensors stand for: views of storages, once their bounds are checked."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nrcscan.inputs.pickles.placeholder import Known, PickleRefused, Placeholder, Unreadable

_STORAGES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "BFloat16": torch.bfloat16,
    "ComplexDouble": torch.complex128,
    "ComplexFloat": torch.complex64,
    "QInt8": torch.qint8,
    "QInt32": torch.qint32,
    "QUInt8": torch.quint8,
    "QUInt4x2": torch.quint4x2,
    "QUInt2x4": torch.quint2x4,
}
_DEVICE = re.compile(r"[a-z]{1,20}(:\d{1,4})?")
_MOST_AXES = 64
_PLAIN = tuple(
    f"torch.{name}"
    for name in ("Tensor", "_tensor.Tensor", "nn.parameter.Parameter", "nn.parameter.Buffer")
)
_DISTRIBUTED = ("torch.distributed.tensor.DTensor", "torch.distributed._tensor.api.DTensor")

DENSE = "save it dense, in floating point"


@dataclass(frozen=True, eq=False)
class Storage:
    """Bytes of tensors, and the type of their values."""

    held: torch.UntypedStorage
    dtype: torch.dtype


class StorageType(Known):
    """A class of storages: it says what its values are of."""

    __slots__ = ("dtype",)

    def __init__(self, name: str, dtype: torch.dtype) -> None:
        super().__init__(name, _no_storage, is_class=False)
        self.dtype = dtype


def _no_storage(*_: Any) -> Any:
    raise PickleRefused("it makes a storage of its own")


def count(value: Any) -> int:
    """Return a size.

    Raises:
        PickleRefused: it is no whole number from 0 on.
    """
    if type(value) is not int or not 0 <= value < 2**62:
        shown = repr(value) if type(value) is int else type(value).__name__
        raise PickleRefused(f"a tensor has a size {shown}, which is none")
    return value


def _counts(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple | list) or len(values) > _MOST_AXES:
        raise PickleRefused("a tensor's shape is none")
    return tuple(count(value) for value in values)


def _view(storage: Any, offset: Any, size: Any, stride: Any, dtype: Any = None) -> Tensor:
    if type(storage) is not Storage:
        raise PickleRefused("a tensor has no storage")
    dtype = storage.dtype if dtype is None else dtype
    if type(dtype) is not torch.dtype:
        raise PickleRefused("a tensor's dtype is none")
    sizes, strides, start = _counts(size), _counts(stride), count(offset)
    if len(sizes) != len(strides):
        raise PickleRefused("a tensor has other strides than axes")
    if 0 not in sizes:
        number = 1
        for length in sizes:
            number *= length
        last = start + sum((length - 1) * step for length, step in zip(sizes, strides, strict=True))
        if last >= storage.held.nbytes() // dtype.itemsize or number >= 2**62:
            raise PickleRefused(
                f"a tensor of shape {sizes} reaches beyond its"
                f" {storage.held.nbytes() // dtype.itemsize} values"
            )
    elif start > storage.held.nbytes() // dtype.itemsize or max(sizes) > 2**40:
        raise PickleRefused("an empty tensor begins beyond its storage")
    return torch.empty(0, dtype=dtype).set_(storage.held, start, sizes, strides)


def _require_no_hooks(hooks: Any) -> None:
    if hooks is not None and (not isinstance(hooks, dict) or hooks):
        raise PickleRefused("a tensor has hooks, which are code")


def _bare(storage: Any, offset: Any, size: Any, stride: Any) -> Tensor:
    return _view(storage, offset, size, stride)


def _typed(  # its parameters are torch's
    storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, bits: Any = None
) -> Tensor:
    _require_no_hooks(hooks)
    if type(storage) is Storage and not _has_values(storage.dtype):
        raise PickleRefused("a tensor is quantised and does not say how")
    return _with_bits(_view(storage, offset, size, stride), bits)


def _untyped(
    storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, *rest: Any
) -> Tensor:
    _require_no_hooks(hooks)
    dtype, bits, *more = (*rest, None)
    if more not in ([], [None]) or type(dtype) is not torch.dtype:
        raise PickleRefused("a tensor's dtype is none")
    return _with_bits(_view(storage, offset, size, stride, dtype), bits)


def _has_values(dtype: torch.dtype) -> bool:
    return not str(dtype).removeprefix("torch.").startswith(("q", "bits"))


def _with_bits(tensor: Tensor, bits: Any) -> Tensor:
    """Return what a tensor stands for that is kept conjugate, or negative."""
    if not bits:
        return tensor
    if type(bits) is not dict or not all(type(bit) is bool for bit in bits.values()):
        raise PickleRefused("a tensor is kept in an unknown way")
    if bits.keys() - {"conj", "neg"}:
        raise PickleRefused("a tensor is kept in an unknown way")
    if bits.get("conj"):
        tensor = tensor.conj().resolve_conj()
    return -tensor if bits.get("neg") else tensor


def _parameter(data: Any, grad: Any = True, hooks: Any = None, state: Any = None) -> Any:
    _require_no_hooks(hooks)
    if not isinstance(data, Tensor | Unreadable):
        raise PickleRefused("a parameter is made of what is no tensor")
    return data


def _quantised(*_: Any) -> Unreadable:
    return Unreadable("torch.Tensor", f"is a quantised tensor; {DENSE}")


def _sparse(layout: Any, *_: Any) -> Unreadable:
    kind = layout.removeprefix("torch.") if type(layout) is str else "sparse"
    return Unreadable("torch.Tensor", f"is a {kind} tensor; {DENSE}")


def _nested(*_: Any) -> Unreadable:
    return Unreadable("torch.Tensor", f"is a nested tensor; {DENSE}")


def _meta(*_: Any) -> Unreadable:
    return Unreadable("torch.Tensor", "has a shape but no data; save the network's weights")


def _lazy(*_: Any) -> Unreadable:
    return Unreadable(
        "torch.nn.parameter.UninitializedParameter",
        "is of a lazy layer that no data has gone through, and has no shape; save the network"
        " after a first batch",
    )


def _of_array(data: Any, dtype: Any, *_: Any) -> Tensor:
    if not isinstance(data, np.ndarray) or data.dtype.kind not in "biufc":
        raise PickleRefused("a tensor is made of what is no array")
    return _to(torch.from_numpy(data.copy()), dtype)


def _to(tensor: Any, dtype: Any, *_: Any) -> Tensor:
    if not isinstance(tensor, Tensor) or type(dtype) is not torch.dtype:
        raise PickleRefused("a tensor is made of what is no tensor")
    return tensor.to(dtype)


class Wrapper(Unreadable):
    """A tensor without data of its own: its class keeps that beside, in its own way."""

    __slots__ = ("sizes",)

    def __init__(self, name: str, sizes: tuple[int, ...]) -> None:
        problem = f"is a {name}, whose values that class alone can tell; {DENSE}"
        super().__init__(name, problem)
        self.sizes = sizes


def _wrapper(kind: Any, dtype: Any, size: Any, *_: Any) -> Wrapper:
    if not isinstance(kind, Placeholder):
        raise PickleRefused("a tensor's class is none")
    return Wrapper(kind.name, _counts(size))


def _of_class(record: Callable[[str], None], rebuild: Any, kind: Any, args: Any, state: Any) -> Any:
    """Return the plain tensor that a tensor of a class of its own holds."""
    if not isinstance(rebuild, Placeholder) or not isinstance(kind, Placeholder):
        raise PickleRefused("a tensor's class is none")
    if type(args) is not tuple:
        raise PickleRefused("a tensor is made of no arguments")
    if not isinstance(rebuild, Known):
        return Unreadable(kind.name, f"is a {kind.name}, which {rebuild.name} makes; {DENSE}")
    made = rebuild.make(*args)
    if isinstance(made, Wrapper):
        made.state = state
        return full_tensor(made) if kind.name in _DISTRIBUTED else made
    if isinstance(made, Tensor) and kind.name not in _PLAIN:
        record(kind.name)
    return made


def full_tensor(shell: Wrapper) -> Any:
    """Return a distributed tensor as a whole, or the shell that says why this file has only part.

    It is whole where what this rank kept has the shape of the whole and is no summand of it.
    """
    held = shell.attributes
    local, spec = held.get("_local_tensor"), held.get("_spec")
    if not isinstance(local, Tensor) or not isinstance(spec, Placeholder):
        return shell
    about = spec.attributes
    mesh = about.get("mesh")
    ranks = None
    if isinstance(mesh, Placeholder):
        kept = mesh.attributes
        ranks = next(
            (kept[n] for n in ("_rank_map", "mesh") if isinstance(kept.get(n), Tensor)), None
        )
    placed = about.get("placements")
    kinds = (
        [place.name.rpartition(".")[-1] for place in placed if isinstance(place, Placeholder)]
        if isinstance(placed, tuple | list)
        else ["?"]
    )
    alone = ranks is not None and ranks.numel() == 1
    whole = tuple(local.shape) == shell.sizes
    if whole and (alone or all(kind.endswith(("Shard", "Replicate")) for kind in kinds)):
        return local
    part = "a summand" if whole else f"{tuple(local.shape)} of {shell.sizes}"
    shell.problem = (
        f"is a DTensor of which the file has one rank's part, {part}; save all of it: "
        "get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))"
    )
    return shell


def _size(sizes: Any = ()) -> tuple[int, ...]:
    return torch.Size(_counts(sizes))


def _device(kind: Any, index: Any = None) -> Any:
    kind = kind.decode("ascii") if type(kind) is bytes else kind
    if type(kind) is not str or not _DEVICE.fullmatch(kind):
        raise PickleRefused("a device is none")
    if index is not None and type(index) is not int:
        raise PickleRefused("a device is none")
    return torch.device(kind if index is None else f"{kind}:{index}")


def _layout(name: Any) -> Any:
    if type(name) is not str or not isinstance(getattr(torch, name[6:40], None), torch.layout):
        raise PickleRefused("a tensor's layout is none")
    return name


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "_rebuild_tensor": _bare,
    "_rebuild_tensor_v2": _typed,
    "_rebuild_tensor_v3": _untyped,
    "_rebuild_parameter": _parameter,
    "_rebuild_parameter_with_state": _parameter,
    "_rebuild_qtensor": _quantised,
    "_rebuild_sparse_tensor": _sparse,
    "_rebuild_sparse_csr_tensor": _sparse,
    "_rebuild_nested_tensor": _nested,
    "_rebuild_meta_tensor_no_storage": _meta,
    "_rebuild_wrapper_subclass": _wrapper,
    "_rebuild_device_tensor_from_numpy": _of_array,
    "_rebuild_device_tensor_from_cpu_tensor": _to,
    "_rebuild_xla_tensor": _of_array,
}


def _no_tensor(*_: Any) -> Any:
    raise PickleRefused("it makes a tensor from its shape alone")


def known_tensors(record: Callable[[str], None]) -> dict[tuple[str, str], Any]:
    """Return what the names stand for that pickles of tensors ask for.

    Args:
        record: is called with the class of each tensor that has a class of its own.
    """
    known: dict[tuple[str, str], Any] = {
        ("torch._utils", name): Known(f"torch._utils.{name}", make, is_class=False)
        for name, make in _FUNCTIONS.items()
    }
    functions: list[tuple[str, Callable[..., Any], bool]] = [
        ("torch._tensor._rebuild_from_type_v2", partial(_of_class, record), False),
        ("torch.nn.parameter.UninitializedParameter", _lazy, True),
        ("torch.nn.parameter.UninitializedBuffer", _lazy, True),
        ("torch.serialization._get_layout", _layout, False),
        ("torch.Size", _size, True),
        ("torch.device", _device, True),
        *((name, _no_tensor, False) for name in _PLAIN),
    ]
    for full, make, is_class in functions:
        module, _, name = full.rpartition(".")
        known[module, name] = Known(full, make, is_class=is_class)
    for kind, dtype in _STORAGES.items():
        for module in ("torch", "torch.cuda"):
            name = f"{kind}Storage"
            known[module, name] = StorageType(f"{module}.{name}", dtype)
    untyped = StorageType("torch.storage.UntypedStorage", torch.uint8)
    known["torch.storage", "UntypedStorage"] = known["torch", "UntypedStorage"] = untyped
    for name, value in vars(torch).items():
        if isinstance(value, torch.dtype | torch.qscheme):
            known["torch", name] = value
    return known
