"""What pickles of NumPy arrays, numbers and dtypes stand for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nrcscan.inputs.pickles.placeholder import Known, PickleRefused, Placeholder

_ARRAY_CLASSES = ("numpy.ndarray", "numpy.memmap", "numpy.matrix")
_CODE = re.compile(r"[biufc?]\d{0,2}|[SUVMm]\d{0,9}|O8?")
_MOST_AXES = 32
_RECORDS = ("numpy.record", "numpy.rec.record")
_SMALL_FLOATS = {
    f"ml_dtypes.{name}": dtype
    for name, dtype in vars(torch).items()
    if isinstance(dtype, torch.dtype)
    and dtype.itemsize <= 2
    and name.startswith(("bfloat", "float8"))
}
"""What JAX has beside NumPy's own: float32 has all of their values."""
_UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as")


class DtypeDraft:
    """A dtype that a pickle makes in two steps."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype

    def __repr__(self) -> str:
        return repr(self.dtype)


def _make_dtype(code: Any, align: Any = False, copy: Any = False) -> DtypeDraft | Placeholder:
    if isinstance(code, bytes):
        code = code.decode("ascii")
    if isinstance(code, Placeholder) and not isinstance(code, Known):
        records = code.name in _RECORDS  # fields as any other
        return DtypeDraft(np.dtype("V")) if records else Placeholder(code.name, ())
    if type(code) is not str or not _CODE.fullmatch(code):
        raise PickleRefused(f"it has a dtype {_shown(code)}")
    return DtypeDraft(np.dtype(code))


def _set_dtype(draft: Any, state: Any) -> None:
    if type(state) is not tuple or not 8 <= len(state) <= 9:
        raise PickleRefused("a dtype's state is out of order")
    _, order, shaped, names, fields, size, *_ = state
    if isinstance(order, bytes):
        order = order.decode("ascii")
    if order not in ("<", ">", "=", "|"):
        raise PickleRefused(f"it has a byte order {_shown(order)}")
    if shaped is not None:
        base, shape = shaped
        draft.dtype = np.dtype((_dtype_of(base), _shape(shape)))
    elif names is not None:
        if type(names) is not tuple or type(fields) is not dict or type(size) is not int:
            raise PickleRefused("a dtype's fields are out of order")
        if not all(type(name) is str for name in names):
            raise PickleRefused("a dtype's fields have no names")
        draft.dtype = np.dtype(
            {
                "names": list(names),
                "formats": [_dtype_of(fields[name][0]) for name in names],
                "offsets": [_count(fields[name][1]) for name in names],
                "itemsize": size,
            }
        )
    else:
        dtype = draft.dtype
        if dtype.kind in "mM" and len(state) == 9:
            dtype = np.dtype(f"{dtype.kind}8{_unit(state[8])}")
        draft.dtype = dtype.newbyteorder(order)


def _unit(metadata: Any) -> str:
    """Return the unit of times, as a dtype's code has it."""
    unit, number = metadata[1][:2]
    unit = unit.decode("ascii") if type(unit) is bytes else unit
    if unit == "generic":  # of NaT alone
        return ""
    if unit not in _UNITS or type(number) is not int or number < 1:
        raise PickleRefused("it has times of no unit")
    return f"[{number}{unit}]"


def _dtype_of(draft: Any) -> np.dtype[Any]:
    if type(draft) is not DtypeDraft:
        raise PickleRefused("an array's dtype is none")
    return draft.dtype


def _foreign(dtype: Any, shape: tuple[int, ...], data: Any) -> NDArray[Any] | None:
    """Return an array of values of a class that is not NumPy's, or what stands for it, alone."""
    if not isinstance(dtype, Placeholder):
        return None
    known = _SMALL_FLOATS.get(dtype.name)
    if known is None or dtype.state is None or dtype.state[1] == ">":
        alone = np.empty((), dtype=object)
        alone[()] = Placeholder(dtype.name, (data,))
        return alone
    _held(np.dtype(f"V{known.itemsize}"), shape, data)
    if not data:
        return np.empty(shape, dtype=np.float32)
    return torch.frombuffer(bytearray(data), dtype=known).float().numpy().reshape(shape)


def _make_empty(kind: Any, *_: Any) -> Any:
    if not isinstance(kind, Placeholder):
        raise PickleRefused("an array's class is none")
    if kind.name not in _ARRAY_CLASSES:  # of a class of the user's
        return Placeholder(kind.name, ())
    return np.empty(0, dtype=np.int8)


def _set_array(array: NDArray[Any], state: Any) -> None:
    if type(state) is not tuple or len(state) not in (4, 5):
        raise PickleRefused("an array's state is out of order")
    shape, draft, by_column, data = state[-4:]
    sizes = _shape(shape)
    if type(by_column) not in (bool, int):
        raise PickleRefused("an array's order is none")
    if isinstance(data, str):  # of Python 2
        data = data.encode("latin-1")
    read = _foreign(draft, sizes[::-1] if by_column else sizes, data)
    if read is not None:
        alone = read.dtype == object
        values: Any = [read[()]] if alone else read.tobytes()
        stand_in: Any = (1, () if alone else sizes, read.dtype, bool(by_column), values)
        array.__setstate__(stand_in)
        return
    dtype = _dtype_of(draft)
    held = _held(dtype, sizes, data)
    whole = bytes(data) if isinstance(data, bytearray) else data
    made: Any = (1, sizes, held, bool(by_column), whole)
    array.__setstate__(made)


def _held(dtype: np.dtype[Any], sizes: tuple[int, ...], data: Any) -> np.dtype[Any]:
    """Return a dtype once its data is known to be as much as it says."""
    count = 1
    for size in sizes:
        count *= size
    if dtype == np.dtype(object):
        if type(data) is not list or len(data) != count:
            raise PickleRefused("an array of objects does not hold as many as its shape says")
    elif dtype.hasobject or type(data) not in (bytes, bytearray):
        raise PickleRefused("an array is made of objects")
    elif len(data) != count * dtype.itemsize:
        raise PickleRefused(f"an array of shape {sizes} and {dtype} holds {len(data)} bytes")
    return dtype


def _make_scalar(draft: Any, data: Any = b"") -> Any:
    if isinstance(data, str):
        data = data.encode("latin-1")
    read = _foreign(draft, (), data)
    if read is not None:
        return read[()]
    dtype = _dtype_of(draft)
    _held(dtype, (), data)
    if dtype == np.dtype(object):
        raise PickleRefused("a number is an object")
    return np.frombuffer(bytes(data), dtype)[0] if dtype.itemsize else dtype.type()


def _make_array(data: Any, draft: Any, shape: Any, order: Any = "C", *_: Any) -> Any:
    sizes = _shape(shape)
    if order not in ("C", "F", "A", "K"):
        raise PickleRefused("an array's order is none")
    data = bytes(data) if isinstance(data, bytearray) else data
    read = _foreign(draft, sizes[::-1] if order == "F" else sizes, data)
    if read is not None:
        return read.T if order == "F" else read
    dtype = _dtype_of(draft)
    _held(dtype, sizes, data)
    if dtype == np.dtype(object):
        raise PickleRefused("an array is made of objects")
    return np.frombuffer(bytes(data), dtype).reshape(sizes, order="F" if order == "F" else "C")


def _shape(sizes: Any) -> tuple[int, ...]:
    if type(sizes) is int:
        sizes = (sizes,)
    if type(sizes) is not tuple or len(sizes) > _MOST_AXES:
        raise PickleRefused("an array's shape is none")
    return tuple(_count(size) for size in sizes)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**62:
        raise PickleRefused(f"it has a size {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    return repr(value[:40]) if isinstance(value, str) else f"that is a {type(value).__name__}"


STATE_SETTERS: dict[type, Callable[[Any, Any], None]] = {
    np.ndarray: _set_array,
    DtypeDraft: _set_dtype,
}
"""What takes a state in place, by the type that it is of."""


def known_arrays() -> dict[tuple[str, str], Known]:
    """Return what the names stand for that pickles of arrays ask for, old names and new."""
    known = {}
    for root in ("numpy.core", "numpy._core"):
        for module, name, make in (
            ("multiarray", "_reconstruct", _make_empty),
            ("multiarray", "scalar", _make_scalar),
            ("numeric", "_frombuffer", _make_array),
        ):
            known[f"{root}.{module}", name] = Known(f"{root}.{module}.{name}", make, is_class=False)
    known["numpy", "dtype"] = Known("numpy.dtype", _make_dtype, is_class=False)
    for name in _ARRAY_CLASSES:
        known["numpy", name.removeprefix("numpy.")] = Known(name, _no_array, is_class=False)
    return known


def _no_array(*_: Any) -> Any:
    raise PickleRefused("it makes an array from its shape alone")
