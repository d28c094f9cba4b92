"""What was found anew against what is kept: which number moved by more than it may.

Training amplifies rounding: another processor adds up in another order, and after some hundred
epochs the weights are others. So what is compared is what training leaves alone, within the
tolerances of `TOLERANCES`, which were read off the spread between kernels of the same machine
(`OPENBLAS_CORETYPE`, `MKL_CBWR`, `ONEDNN_MAX_CPU_ISA`, `ATEN_CPU_CAPABILITY` as in the Makefile).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Document = dict[str, Any]

AGREEMENT = 1e-9
"""How far the error that a cut foretells may be from the one it has, as a share of that."""
