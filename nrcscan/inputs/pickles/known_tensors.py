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

from nrcscan.inputs.pickles.placeholder import Known, PickleRefused, Unreadable
from nrcscan.inputs.pickles.tensor_classes import DENSE, PLAIN_CLASSES, of_class, wrapper
from nrcscan.inputs.pickles.tensor_sizes import count, counts

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


def _view(storage: Any, offset: Any, size: Any, stride: Any, dtype: Any = None) -> Tensor:
    if type(storage) is not Storage:
        raise PickleRefused("a tensor has no storage")
    dtype = storage.dtype if dtype is None else dtype
    if type(dtype) is not torch.dtype:
        raise PickleRefused("a tensor's dtype is none")
    sizes, strides, start = counts(size), counts(stride), count(offset)
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


def _size(sizes: Any = ()) -> tuple[int, ...]:
    return torch.Size(counts(sizes))


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
    "_rebuild_wrapper_subclass": wrapper,
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
        ("torch._tensor._rebuild_from_type_v2", partial(of_class, record), False),
        ("torch.nn.parameter.UninitializedParameter", _lazy, True),
        ("torch.nn.parameter.UninitializedBuffer", _lazy, True),
        ("torch.serialization._get_layout", _layout, False),
        ("torch.Size", _size, True),
        ("torch.device", _device, True),
        *((name, _no_tensor, False) for name in PLAIN_CLASSES),
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
