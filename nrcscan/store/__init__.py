"""The file between extraction and report: HDF5, written whole or not at all.

Its layout is docs/file-format.md. Nothing else writes HDF5.
"""

from nrcscan.store.held import Held, Measured
from nrcscan.store.reading import Acts, open_acts, require_self_contained
from nrcscan.store.schema import DOUBLE, FORMAT, VERSION, LayerRecord, Output, Predictions
from nrcscan.store.writing import Writer, apart, create, require_free, write_text

__all__ = [
    "DOUBLE",
    "FORMAT",
    "VERSION",
    "Acts",
    "Held",
    "LayerRecord",
    "Measured",
    "Output",
    "Predictions",
    "Writer",
    "apart",
    "create",
    "open_acts",
    "require_free",
    "require_self_contained",
    "write_text",
]
