"""`python -m reproduction`: train and measure every network, and tell what moved."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from nrcscan.cli.progress_bar import counting
from nrcscan.cpu_threads import processors
from reproduction.all_runs import Document, run_all
from reproduction.drift import drift
from reproduction.plan import PLAN, REDUCED, Run
from reproduction.sample_sets import ROOT, samples

KEPT = Path(__file__).parent / "results"
INTERRUPTED = 130


def main() -> int:
    """Do what the command line asks for, and return the exit code: 1 where a number moved."""
    parser = argparse.ArgumentParser(prog="python -m reproduction", description=__doc__)
    parser.add_argument("--reduced", action="store_true", help="a few small networks alone")
    parser.add_argument("--keep", action="store_true", help="have what was found be what is kept")
    parser.add_argument("--processes", type=int, default=min(2, processors()), metavar="N")
    chosen = parser.parse_args()
    runs: Sequence[Run] = REDUCED if chosen.reduced else PLAN
    folder = ROOT / "build" / ("reproduction-reduced" if chosen.reduced else "reproduction")
    kept = KEPT / "reduced" if chosen.reduced else KEPT
    for name in dict.fromkeys(run.data for run in runs):
        path = folder / "data" / f"{name}.npz"
        if not path.is_file():
            samples(name).save(path)
    try:
        with counting("seconds of work") as on_progress:
            found = run_all(
                runs, folder, processes=chosen.processes, on_run=_tell, on_progress=on_progress
            )
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    if chosen.keep:
        keep(found, folder, kept)
        return 0
    moved = drift(found, kept)
    for one in moved:
        print(f"moved: {one}", file=sys.stderr)
    print(f"{len(found)} runs: " + (f"{len(moved)} numbers moved" if moved else "as they are kept"))
    return 1 if moved else 0


def keep(found: dict[str, Document], folder: Path, kept: Path) -> None:
    """Replace the results that are kept by what was found."""
    kept.mkdir(parents=True, exist_ok=True)
    for stale in kept.glob("*.json"):
        stale.unlink()
    for name in found:
        shutil.copyfile(folder / name / "result.json", kept / f"{name}.json")


def _tell(result: Document) -> None:
    """Print a line on a run that is done."""
    fit = result["checkpoints"][-1]["train"]
    print(f"{result['run']['name']}: {fit['verdict']['text']}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
