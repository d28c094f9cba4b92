"""Reads what a scan found: scan.json, whole, and of any schema brought up to the newest."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Any

from nrcscan.errors import InputError
from nrcscan.files.open_safely import is_folder, is_there, regular_file
from nrcscan.files.read_json import LARGEST_RESULT, read_json
from nrcscan.metrics.quantities import CONDITIONS, QUANTITIES
from nrcscan.options.option import declared
from nrcscan.options.report_options import Thresholds
from nrcscan.scanning.cuts_in_scan import CHOSEN
from nrcscan.scanning.scan_file import AS_NAMED, NAME, SCAN_FILE, SCHEMA, VERSION, ScanDocument
from nrcscan.verdict.answers import Answer
from nrcscan.verdict.state import State
from nrcscan.wording import reason


def read_scan(path: str | Path) -> ScanDocument:
    """Read what a scan found: scan.json, or that of a scan's output folder.

    Raises:
        InputError: it is missing, no scan, of a newer nrcscan, damaged, or holds no checkpoint
            that could be used.
    """
    file = Path(path)
    if is_folder(file):
        file = file / SCAN_FILE
        if not is_there(file):
            raise InputError(
                f"{path}: holds no {SCAN_FILE}; give a folder that nrcscan scan wrote, or files"
            )
    regular_file(file, "scan")
    try:
        found = read_json(file, "scan", limit=LARGEST_RESULT)
    except ValueError as error:
        raise InputError(
            f"{file}: not a scan's JSON ({reason(error)}); give the {SCAN_FILE} of nrcscan scan"
        ) from error
    _require_ours(found, file)
    try:
        for entry in found["checkpoints"]:
            _require_whole(entry)
        _require_conditions(found)
        _require_remarks(found)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{file}: damaged ({reason(error)}); scan again") from error
    if not any(entry["status"] == "ok" for entry in found["checkpoints"]):
        raise InputError(f"{file}: no checkpoint of it could be used; see its reasons")
    document: ScanDocument = found
    return document


def _require_ours(found: Any, file: Path) -> None:
    """Refuse what nrcscan scan has not written.

    Raises:
        InputError: the file is of another program, or of a newer nrcscan.
    """
    schema = str(found.get("schema")) if isinstance(found, dict) else "no schema"
    name, _, version = schema.partition("/")
    if name != NAME or not version.isdecimal():
        raise InputError(
            f"{file}: not a scan ({schema[:80]}); give the {SCAN_FILE} of nrcscan scan"
        )
    if int(version[:9]) > VERSION:
        raise InputError(
            f"{file}: written by a newer nrcscan (schema {schema[:80]}, and this one reads up to"
            f" {SCHEMA}); upgrade nrcscan"
        )


def _require_whole(entry: Any) -> None:
    """Refuse a checkpoint without all that a scan says of one; fields that are not known may be.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: something is missing or of a wrong kind.
    """
    path = entry["path"]
    _require(path, "path", str)
    _require(entry["run"], f"the run of {path}", str)
    for name in ("epoch", "step", *AS_NAMED):
        _require(entry.get(name), f"the {name} of {path}", int, type(None))
    if entry["status"] not in ("ok", "error"):
        raise ValueError(f"{path} is neither ok nor an error")
    if entry["status"] == "error":
        _require(entry["reason"], f"the reason of {path}", str, type(None))
        return
    for name in ("n_samples", "signal_dim"):
        _require(entry.get(name), f"the {name} of {path}", int, type(None))
    _require(entry.get("data"), f"the data of {path}", dict, type(None))
    for name in ("mse", "r2"):
        _require(entry["model"][name], f"the {name} of {path}", int, float, type(None))
    _require(entry["model"]["learned"], f"what {path} has learned", bool, type(None))
    for layer in entry["layers"]:
        _require_layer(layer, path)
    if "verdict" not in entry:
        entry["verdict"] = dict(_NO_VERDICT)
        entry["onset"] |= dict.fromkeys((*_JUDGED_OTHERWISE, "all"))
    if "cuts" in entry:  # which only some scans have
        _require_cuts(entry["cuts"], path)
    names = {layer["name"] for layer in entry["layers"]}
    if not names or len(names) < len(entry["layers"]):
        raise ValueError(f"the layers of {path} are none, or two have one name")
    steps = {layer["step"] for layer in entry["layers"]} - {None}
    if steps != set(range(1, len(steps) + 1)):
        raise ValueError(f"the steps of {path} are not 1, 2, …")
    _require_verdict(entry["verdict"], names, path)
    if not {entry["onset"][name] for name in (*CONDITIONS, "all")} <= names | {None}:
        raise ValueError(f"an onset of {path} is at no layer")


def _require_verdict(verdict: Any, names: Set[str], path: str) -> None:
    """Refuse a verdict that none of ours is."""
    state = State(verdict["state"])
    _require(verdict["text"], f"the verdict's text of {path}", str)
    stretch = {verdict["onset"], verdict["last"]}
    if not stretch <= names | {None} or (state is State.COLLAPSED and None in stretch):
        raise ValueError(f"the verdict's onset of {path} is at no layer")
    _require(verdict["unmeasured"], f"what is not measured of {path}", dict)
    for name, why in verdict["unmeasured"].items():
        _require(why, f"why {name} of {path} is not measured", str)
    _require(verdict["findings"], f"the findings of {path}", list)
    for finding in verdict["findings"]:
        _require(finding, f"a finding of {path}", str)
    for name in ("broken_by", "confidence"):
        _require(verdict[name], f"the verdict's {name} of {path}", dict, type(None))


def _require_cuts(told: Any, path: str) -> None:
    """Refuse what a scan does not say of cuts."""
    _require(told["within"], f"the tolerance of cuts of {path}", int, float)
    _require(told["text"], f"what cuts say of {path}", str)
    parts = [told["model"], *(told[which] for which in CHOSEN if told[which] is not None)]
    for part in parts:
        for name in ("weights", "multiply_adds"):
            _require(part[name], f"the {name} of a cut of {path}", int, type(None))
        for name in ("held_out", "change"):
            found = part.get(name) or {"value": 0, "standard_error": None}
            _require(found["value"], f"the {name} of a cut of {path}", int, float)
            _require(found["standard_error"], f"an error of {path}", int, float, type(None))
    for part in parts[1:]:
        _require(part["layer"], f"the cut of {path}", str)
        _require(part["position"], f"the cut of {path}", int)
        _require(part["inputs"], f"whether a cut of {path} is of inputs", bool)
        _require(part["held_out"], f"the error of a cut of {path}", dict)


def _require_conditions(scan: Any) -> None:
    """Refuse what a scan says of how it was judged, if it says so, and not as a scan does."""
    judged = (scan.get("provenance") or {}).get("report") or {}
    _require(judged.get("convention"), "the convention", str, type(None))
    for name, threshold in (judged.get("thresholds") or {}).items():
        _require(threshold, f"the threshold {name}", int, float)
        least = declared(Thresholds)[name].option.minimum if name in declared(Thresholds) else None
        if least is not None and threshold < least:
            raise ValueError(f"the threshold {name} is {threshold}")


def _require_remarks(scan: Any) -> None:
    """Refuse notes and skipped files, if it has any, that are not as a scan writes them."""
    for told in scan.get("notes") or []:
        _require(told["note"], "a note", str)
        for path in told["checkpoints"]:
            _require(path, "a checkpoint of a note", str)
    for skipped in scan.get("skipped") or []:
        for name in ("path", "reason"):
            _require(skipped[name], f"the {name} of what was skipped", str)


_NO_VERDICT: dict[str, Any] = {
    "state": "cannot be judged",
    "onset": None,
    "last": None,
    "broken_by": None,
    "unmeasured": {},
    "confidence": None,
    "findings": [],
    "text": "CANNOT BE JUDGED: the scan is of an nrcscan that gave no verdict; scan again.",
}
"""Of a checkpoint in a scan of schema 1."""

_JUDGED_OTHERWISE = ("nrc4",)
"""Conditions that scans of schema 1 judged by another quantity."""


def _require_layer(layer: Any, path: str) -> None:
    of = f"{layer['name']} in {path}"
    for name in ("name", "kind"):
        _require(layer[name], f"the {name} of {of}", str)
    for name in ("position", "width"):
        _require(layer[name], f"the {name} of {of}", int)
    for name in CONDITIONS:
        _require(layer["met"][name], f"{name} of {of}", bool, type(None))
    _bring_up_to_date(layer)
    for name in CONDITIONS:
        _ = Answer(layer["answers"][name])
    if "reach" in layer:  # which came later
        _require_reach(layer["reach"], of)
    _require(layer["step"], f"the step of {of}", int, type(None))
    _require(layer["undefined"], f"what is undefined of {of}", dict)
    for name, error in layer.get("standard_error", {}).items():
        _require(error, f"the standard error of {name} of {of}", int, float)
    for name in QUANTITIES:
        if name not in layer:  # a quantity that came later
            layer[name] = None
            layer["undefined"][name] = "the scan is of an nrcscan that did not measure it"
        _require(layer[name], f"{name} of {of}", int, float, type(None))


def _require_reach(reach: Any, of: str) -> None:
    for name in CONDITIONS:
        for end in _two(reach[name]["undecided_between"]):
            _require(end, f"what {name} reaches of {of}", int, float)
        _require(reach[name]["open"], f"what {name} leaves open of {of}", bool)
        if reach[name]["always"] is not None:
            _ = Answer(reach[name]["always"])


def _two(ends: Any) -> tuple[Any, Any]:
    lower, upper = ends
    return lower, upper


def _bring_up_to_date(layer: dict[str, Any]) -> None:
    """Add what layers of schema 1 do not tell: then every position was a step, inputs too."""
    if "answers" in layer:
        return
    layer["met"] |= dict.fromkeys(_JUDGED_OTHERWISE)
    answers = {True: Answer.MET, False: Answer.NOT_MET, None: Answer.NOT_JUDGED}
    layer["answers"] = {name: answers[layer["met"][name]].value for name in CONDITIONS}
    layer["step"] = layer["position"] + 1


def _require(value: Any, what: str, *kinds: type) -> None:
    if type(value) not in kinds:  # True is no number
        raise ValueError(f"{what} is {value!r}"[:200])
