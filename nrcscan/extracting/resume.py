"""Sets out to extract so that it can be gone on with, and reads the samples that are left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import Any

from nrcscan.errors import UsageError
from nrcscan.extracting.begin_output import Output
from nrcscan.extracting.kept_files import folder_of
from nrcscan.extracting.listener import Listener
from nrcscan.extracting.plan_passes import PassPlan
from nrcscan.extracting.resumed_alike import seen
from nrcscan.extracting.torchrun_ranks import Team
from nrcscan.extracting.unfinished import Unfinished
from nrcscan.extracting.work_on_batch import NumberedBatch
from nrcscan.files.open_safely import is_folder
from nrcscan.inputs.datasets.batches import Batch, Dataset


@contextmanager
def resumable(
    output: Output | None,
    passes: PassPlan,
    batches: Iterator[Batch],
    total: int | None,
    ranks: Team,
    listener: Listener,
    conditions: Callable[[Batch], dict[str, Any]],
) -> Iterator[tuple[Unfinished | None, Iterator[Batch]]]:
    """Go on with what is kept, or begin to keep what is done, where --resume is given.

    At the end nothing is kept; an error, or whatever else ends it before, says what is.

    Args:
        output: that is written.
        passes: over the data.
        batches: all of them.
        total: how many samples there are, if that is known.
        ranks: the processes that share them.
        listener: hears whether there is something to go on with.
        conditions: returns for the first batch what must be alike.

    Raises:
        UsageError: --resume is given, and several processes share the work, or the network
            remembers samples.
    """
    if output is None or not output.resume:
        if output is not None and is_folder(where := folder_of(output.path)):
            listener.note(f"{where} keeps another, unfinished; --resume goes on with it")
        yield None, batches
        return
    if ranks.size > 1:
        raise UsageError("--resume goes with one process; leave torchrun out, or --resume")
    if not passes.plan.stateless:
        raise UsageError(
            "--resume goes with networks that see each batch anew, and this one remembers those"
            " before; leave --resume out"
        )
    first = next(batches)
    kept = Unfinished(output.path, conditions(first), passes.run.device, len(passes.order), total)
    kept.begin(listener.note, force=output.force)
    try:
        yield kept, chain([first], batches)
    except BaseException as error:
        kept.explain(error)
        raise
    kept.files.remove()


def left_of(
    dataset: Dataset,
    batches: Iterator[Batch],
    passes: PassPlan,
    total: int | None,
    kept: Unfinished,
) -> Iterator[NumberedBatch]:
    """Yield the batches of a pass that come after those that are done.

    Where the hash of a file says that the samples are the same, they are read from there on; else
    all are read, and a hash of them kept.

    Args:
        dataset: of which they are.
        batches: all of them.
        passes: over them.
        total: how many samples there are, if that is known.
        kept: how many are done.

    Raises:
        UsageError: the samples are others than were read before.
    """
    done, settings = kept.done, passes.settings
    if dataset.provenance.get("sha256") and total is not None:
        if done < total:
            limit = None if settings["limit"] is None else settings["limit"] - done
            if done:
                batches = dataset.batches(passes.plan.batch, limit, settings["offset"] + done)
            yield from Team().mine(batches, total, before=done)
        return
    hashed, end = "", 0
    for batch in Team().mine(batches, total):
        hashed = seen(hashed, (batch.x, batch.y))
        begin, end = end, end + len(batch.y)
        if end > done:
            if begin < done:
                raise _others(dataset, kept)
            yield replace(batch, seen=hashed)
        elif end == done and hashed != kept.seen:
            raise _others(dataset, kept)
    if end < done:
        raise _others(dataset, kept)


def _others(dataset: Dataset, kept: Unfinished) -> UsageError:
    """Return the error that the data are others than before.

    Raises:
        UsageError: the samples are others than were read before.
    """
    return UsageError(
        f"{dataset.name}: its first {kept.done} samples are others than {kept.files.folder} keeps,"
        f" or come in other batches; give those, or remove {kept.files.folder} to begin anew"
    )
