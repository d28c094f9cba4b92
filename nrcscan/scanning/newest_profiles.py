"""The newest checkpoint of every run of a scan, as figures show networks."""

from __future__ import annotations

from nrcscan.reporting.profile import Profile
from nrcscan.scanning.conditions_of_scan import conditions_of
from nrcscan.scanning.newest import newest
from nrcscan.scanning.scan_file import ScanDocument


def newest_profiles(scan: ScanDocument) -> dict[str, Profile]:
    """Return, by run, the newest checkpoint that could be used."""
    thresholds = conditions_of(scan).thresholds
    usable = [entry for entry in scan["checkpoints"] if entry["status"] == "ok"]
    return {
        run: Profile(
            label=run,
            layers=entry["layers"],
            verdict=entry["verdict"],
            thresholds=thresholds,
            signal_dim=entry.get("signal_dim"),
        )
        for run, entry in newest(usable).items()
    }
