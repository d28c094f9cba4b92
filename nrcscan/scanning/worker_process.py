"""What a worker's process does: open the data and build the network once, then checkpoints."""

from __future__ import annotations

import hashlib
import math
import os
import queue
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nrcscan.acts_file.kept_in_memory import KeptInMemory
from nrcscan.cutting.cut import cut
from nrcscan.errors import NoNetworkError, NrcscanError, OutputError, UsageError
from nrcscan.files.open_safely import sha256
from nrcscan.inputs.arrays import joined, parts
from nrcscan.reporting.make_report import report_at, report_of
from nrcscan.scanning.cache import Cache, Record
from nrcscan.scanning.cuts_in_scan import kept_of
from nrcscan.scanning.fingerprint import digest, judgement_key
from nrcscan.scanning.messages import Inference, Outcome, Setup, Task
from nrcscan.scanning.scan_file import IDENTITY, RESULT
from nrcscan.scanning.source_code import SourceCode, search_path
from nrcscan.wording import reason

if TYPE_CHECKING:  # a worker that only makes reports needs no torch
    from nrcscan.inputs.checkpoints.contents import Checkpoint, Contents
    from nrcscan.inputs.datasets.batches import Dataset
    from nrcscan.network.build import Network
    from nrcscan.network.try_guesses import Trial
    from nrcscan.options.pass_options import PassOptions

IN_MEMORY_BYTES = 1 << 28
"""Data up to this size is read once and kept in memory."""

READ_ROWS = 1024
"""Samples that are read at a time."""

EPOCH_KEYS = ("epoch", "current_epoch", "epochs")
STEP_KEYS = ("global_step", "step", "iteration", "iter", "iter_num", "num_steps")


def serve(descriptor: int) -> None:
    """Answer over a connection until it closes: ready or a refusal, then an outcome per task."""
    connection = Connection(descriptor)
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def receive() -> None:
        # Apart from the work, so that a worker whose owner is gone does not finish it first.
        with suppress(OSError, EOFError):
            while True:
                inbox.put(connection.recv())
        os._exit(1)

    setup: Setup = connection.recv()
    threading.Thread(target=receive, daemon=True).start()
    try:
        worker = Worker(setup)
    except NrcscanError as error:
        connection.send(error)
        return
    connection.send(None)
    while True:
        question = inbox.get()
        if isinstance(question, Task):
            connection.send(worker.do(question))
        else:
            connection.send(worker.data_sha256())


class Worker:
    """Measures one checkpoint after the other.

    Raises:
        NrcscanError: the data cannot be opened, or the network's factory not be found: no
            checkpoint could be measured.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        code = SourceCode(search_path(setup.data, setup.settings))
        self._cache = Cache(setup.statistics, code)
        self._judged_as = judgement_key(setup.judgement, setup.within)
        self._network: Network | None = None
        self._built_for: object = None
        self._data: Dataset | None = None
        if setup.measures:
            self._prepare()

    def _prepare(self) -> None:
        from nrcscan.inputs.check_first import watched
        from nrcscan.inputs.user_code import importable, load_callable, named_in

        # To a .pyc, two files of one length saved within one second are the same.
        sys.dont_write_bytecode = True
        settings = self._setup.settings
        if settings["pythonpath"] is not None:
            importable(Path(settings["pythonpath"]))
        files = watched(None, self._setup.data, settings)
        factory, _ = named_in(settings["factory"])
        if isinstance(factory, str):
            load_callable(factory, "--model")
        self._data = _in_memory(self._setup.data, settings)
        files.check()

    def do(self, task: Task) -> Outcome | OutputError:
        """Return what becomes of a checkpoint, or why none can be written; never raises."""
        try:
            return self._do(task)
        except OutputError as error:  # no fault of the checkpoint, and the next fares no better
            return error
        except NrcscanError as error:
            return Outcome(_without(task.path, error), skipped=isinstance(error, NoNetworkError))
        except Exception as error:  # one checkpoint must not end the scan of the others
            return Outcome(f"failed unexpectedly: {type(error).__name__}: {reason(error)}")

    def data_sha256(self) -> str | NrcscanError:
        """Return the SHA-256 of the samples, or why they cannot be read."""
        from nrcscan.extracting.extract import open_data

        settings, content = self._setup.settings, hashlib.sha256()
        try:
            data = self._data or open_data(self._setup.data, settings)
            for x, y in data.batches(READ_ROWS, settings["limit"], settings["offset"]):
                for name, part in {**parts(x), "the targets": y}.items():
                    content.update(f"{name}{part.dtype.str}{part.shape[1:]}".encode())
                    content.update(np.ascontiguousarray(part).data)
        except NrcscanError as error:
            return error
        return content.hexdigest()

    def _do(self, task: Task) -> Outcome:
        target = self._cache.statistics(task.key)
        measured = KeptInMemory(target)
        record = self._cache.load(task.key) or self._measure(task, target, measured)
        if isinstance(record, Outcome):
            return record
        result = record.reports.get(self._judged_as)
        if result is None:
            judgement = self._setup.judgement
            with ThreadPoolExecutor(1) as aside:  # the file is hashed while its report is made
                hashed = aside.submit(sha256, target)
                found = (
                    report_of(measured, **judgement)
                    if measured.complete
                    else report_at(target, judgement)
                )
            record.sha256 = hashed.result()
            data = found.provenance["data"]
            record.data = {name: data[name] for name in IDENTITY if name in data}
            whole = found.to_dict()
            result = {name: whole[name] for name in RESULT}
            if self._setup.within is not None:
                # Of the file, in which activations are too: else it would matter who measured it.
                result["cuts"] = kept_of(cut(target, within=self._setup.within))
            record.reports[self._judged_as] = result
            if record.inference is not None:
                record.inference["doubtful"] = bool(found.doubts)
            self._cache.save(task.key, record)
        return Outcome(
            epoch=record.epoch,
            step=record.step,
            data=record.data,
            result=result,
            inference=record.inferred,
        )

    def _measure(self, task: Task, target: Path, measured: KeptInMemory) -> Record | Outcome:
        from nrcscan.extracting.begin_output import Output
        from nrcscan.extracting.extract import open_data, origin
        from nrcscan.extracting.run_pass import run_pass
        from nrcscan.inputs.checkpoints.choose_network import choose
        from nrcscan.inputs.checkpoints.open_checkpoint import read
        from nrcscan.inputs.user_code import named_in, pickled_in, require_pickled_define

        settings = self._setup.settings
        factory, script = named_in(settings["factory"])
        if settings["trust"] and not settings["run_script"]:
            require_pickled_define(task.path, settings["pythonpath"])
        with pickled_in(script):
            contents = read(task.path, trust=settings["trust"], build=factory is None)
        if task.sha256 is not None and contents.sha256 != task.sha256:
            return Outcome("was written to during the scan, maybe by your code; scan it at rest")
        checkpoint = choose(contents, settings["state_key"], settings["ignore"])
        network = self._loaded(checkpoint)
        if task.guess is not None:
            network = replace(network, settled=task.guess)
        data = self._data or open_data(self._setup.data, settings)
        if task.sha256 is not None and sha256(task.path) != task.sha256:
            return Outcome("was written to while your code ran, so it is not measured; restore it")
        # What is kept in memory has no features themselves, which neighbouring measures look at.
        in_memory = settings["memory"] is None and settings["measures"] == "core"
        keep = measured if in_memory else None
        output = Output(target, force=True)
        done = run_pass(network, origin(checkpoint), data, output, settings, in_memory=keep)
        return Record(
            inference=_inference(done.trial, digest(_architecture(checkpoint, settings))),
            epoch=_number(contents, EPOCH_KEYS),
            step=_number(contents, STEP_KEYS),
            sources=self._cache.code.in_use(),
        )

    def _loaded(self, checkpoint: Checkpoint) -> Network:
        """Return the network with a checkpoint's weights: the one that stands, if they fit it."""
        import torch

        from nrcscan.extracting.check_resources import usable_device
        from nrcscan.inputs.user_code import named_in
        from nrcscan.network.build import build, reloaded

        settings = self._setup.settings
        dtype = None if settings["dtype"] is None else getattr(torch, settings["dtype"])
        wanted = _architecture(checkpoint, settings)
        if self._network is not None and wanted is not None and wanted == self._built_for:
            self._network = reloaded(self._network, checkpoint, dtype)
            return self._network
        self._network = None
        network = build(
            checkpoint,
            factory=named_in(settings["factory"])[0],
            factory_args=settings["factory_args"],
            activation=settings["activation"],
            dtype=dtype,
        )
        network.module.to(usable_device(settings["device"] or "cpu"))
        self._network, self._built_for = network, wanted
        return network


def _without(path: Path, error: NrcscanError) -> str:
    """Return what an error says of a checkpoint; the path stands beside it anyway."""
    return str(error).removeprefix(f"{path}: ")


def _architecture(checkpoint: Checkpoint, settings: PassOptions) -> object:
    """Return what a network is built from besides the options; None if it is in the file."""
    from nrcscan.inputs.user_code import named_in
    from nrcscan.network.precision import precision_for

    precision = precision_for(checkpoint.state, None)
    if named_in(settings["factory"])[0] is not None:
        return precision, repr(checkpoint.hyper_parameters)
    if checkpoint.module is not None:
        return None
    shapes = [(name, tuple(tensor.shape)) for name, tensor in checkpoint.state.items()]
    return precision, checkpoint.ordered, shapes


def _inference(trial: Trial | None, architecture: str) -> dict[str, Any] | None:
    """Return what a checkpoint tells of its inferred network, if it was one to be told of."""
    if trial is None or not trial.r2 or not math.isfinite(trial.r2[trial.best]):
        return None
    r2 = tuple((guess, value) for guess, value in trial.r2.items() if math.isfinite(value))
    return Inference(architecture, trial.best, r2).to_json()


def _in_memory(data: Any, settings: PassOptions) -> Dataset | None:
    """Return the data in memory, or None if it is too large and opened for every checkpoint.

    Raises:
        NrcscanError: it cannot be read or used.
    """
    from nrcscan.extracting.extract import open_data
    from nrcscan.inputs.datasets.in_memory import from_arrays

    dataset = open_data(data, settings)
    inputs, targets, size = [], [], 0
    last = None if settings["limit"] is None else settings["offset"] + settings["limit"]
    for x, y in dataset.batches(READ_ROWS, last):
        size += y.nbytes + sum(part.nbytes for part in parts(x).values())
        if size > IN_MEMORY_BYTES:
            return None
        inputs.append(x)
        targets.append(y)
    try:
        x, y = joined(inputs), np.concatenate(targets)
    except ValueError as error:
        raise UsageError(
            f"{dataset.name}: samples of different shapes ({reason(error)}); make them one shape"
        ) from error
    measured = from_arrays(x, y, name=dataset.name, provenance=dataset.provenance)
    return replace(measured, notes=dataset.notes, target_axes=dataset.target_axes)


def _number(contents: Contents, keys: tuple[str, ...]) -> int | None:
    """Return the first of these entries of a checkpoint that is a whole number."""
    for name in keys:
        told = re.fullmatch(r"(?:metadata )?'?(\d{1,18})'?", contents.entries.get(name, ""))
        if told:
            return int(told[1])
    return None
