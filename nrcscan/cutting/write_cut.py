"""Writes a cut network, once it has been seen to err by as much as was predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from nrcscan.acts_file.reading import Acts, open_acts
from nrcscan.cutting.cut_forms import CutForm, writable_form
from nrcscan.cutting.cuts import Cut, Cuts
from nrcscan.cutting.linear_head import LinearHead
from nrcscan.cutting.numbers_of_cuts import share
from nrcscan.errors import UsageError
from nrcscan.files import write_atomically, write_together
from nrcscan.files.claims import holding
from nrcscan.merging.check_parts import section
from nrcscan.options.check import checked
from nrcscan.options.cut_network_options import CutNetworkOptions
from nrcscan.options.describe import described
from nrcscan.options.faces import heard, names_keywords
from nrcscan.statistics.moments import Statistics
from nrcscan.wording import listed, printable

if TYPE_CHECKING:  # what can be told without torch is told before it is imported
    from torch import nn

    from nrcscan.cutting.agreement import Agreement
    from nrcscan.cutting.measured_network import Samples
    from nrcscan.cutting.whole_network import WholeNetwork
    from nrcscan.cutting.written_forms import Predict

BATCH = 256
"""Samples that the network is tried on at a time."""

AS_BEFORE = "which the cut network does not do by itself, as the whole one did not"


@dataclass(frozen=True)
class WrittenCut:
    """A cut network that was written; wherever a path is taken, it is taken too.

    Attributes:
        path: of its file.
        factory: of the Python file beside it, whose `build()` makes the network; None where the
            file needs none.
        layer: that it was cut before.
        agreements: predicted and direct error, on TRAIN and, if there is one, TEST.
        notes: what the user should know.
    """

    path: Path
    factory: Path | None
    layer: str
    agreements: tuple[Agreement, ...]
    notes: tuple[str, ...]

    def __fspath__(self) -> str:
        """Return the path of the network."""
        return str(self.path)

    @property
    def text(self) -> str:
        """What was written, and how well it agrees with what was predicted."""
        beside = "" if self.factory is None else f", with {self.factory}:build"
        errors = listed(f"{one.direct:.4g} on {one.samples}" for one in self.agreements)
        off = max(
            abs(one.direct - one.predicted) / one.predicted if one.predicted else 0.0
            for one in self.agreements
        )
        return printable(
            f"{self.path}{beside}: cut before {self.layer}; run on the samples, its MSE is"
            f" {errors}, as predicted (but for {off:.1e} of it)"
        )


@names_keywords
@described(CutNetworkOptions)
def write_cut(
    cuts: Cuts,
    model: str | Path | nn.Module,
    output: str | Path = "cut.pt",
    *,
    data: Any = None,
    test_data: Any = None,
    force: bool = False,
    on_note: Callable[[str], None] | None = None,
    **options: Unpack[CutNetworkOptions],
) -> WrittenCut:
    """Write a cut network: what runs before a layer, and a linear head in place of the rest.

    Before it has its name, what was written is opened again and run on the samples of TRAIN and
    TEST: its error has to be the predicted one, up to rounding (see `nrcscan.cutting.agreement`).

    Args:
        cuts: of `nrcscan.cut`.
        model: the checkpoint that TRAIN was measured on, which is opened as the file says;
            "package.module:factory" or "path/file.py:factory" for its code, if that is elsewhere
            now; or the network in memory.
        output: the file to write. `.pt` is a state dict, with a file of Python of the same name
            beside it whose `build()` makes the network; `.ts` and `.torchscript` are TorchScript,
            `.onnx` is ONNX.
        data: where the samples of TRAIN are, as `nrcscan.extract` takes them; by default where
            the file says.
        test_data: likewise those of TEST; by default where that file says, or `data` where both
            files say the same.
        force: replace an existing output.
        on_note: called with every note as it comes up; by default the logger `nrcscan` shows it.
        options: see `nrcscan.options.cut_network_options`.

    Raises:
        InputError: the network is not the one that was measured, cannot be cut there, or does not
            err by as much as was predicted.
        UsageError: there is no such cut, or the output exists.
        OutputError: the output cannot be written.
        TypeError: there is no such option.
    """
    chosen = checked(CutNetworkOptions, options, "write_cut")
    path = Path(output)
    with holding(), ExitStack() as files:
        train = files.enter_context(open_acts(cuts.train))
        test = None if cuts.test is None else files.enter_context(open_acts(cuts.test))
        cut = _chosen(cuts, train, chosen["before"])
        given = [one for one in (model, data, test_data) if isinstance(one, str | Path)]
        named = [*filter(None, (cuts.train, cuts.test)), *given]
        form = writable_form(path, named, force=force)
        job = _Writing(train, test, cut, chosen)
        for text in job.notes:
            heard(on_note)(text)
        agreements = job.write(model, (data, test_data), form, path, force=force)
    factory = None if form.beside is None else form.paths(path)[1]
    return WrittenCut(path, factory, cut.layer, agreements, job.notes)


def _chosen(cuts: Cuts, train: Acts, before: str | None) -> Cut:
    """Return the cut that is asked for, or the smallest that does as well.

    Raises:
        UsageError: no layer is called so, it is no place to cut, or no cut does as well.
    """
    if before is None:
        if cuts.smallest is None:
            raise UsageError(
                f"no cut is surely within {share(cuts.within)} of the network's own error;"
                " choose one with --before LAYER"
            )
        return cuts.smallest
    position = next((one.position for one in train.layers if one.name == before), None)
    cut = next((one for one in cuts.cuts if one.position == position), None)
    if cut is None:
        there = listed([one.layer for one in cuts.cuts if one.refused is None])
        raise UsageError(f"--before {before}: no such layer; choose among {there}")
    if cut.refused is not None or cut.head is None:
        raise UsageError(f"--before {before}: no place to cut: {cut.refused}; choose another")
    return cut


@dataclass(frozen=True)
class _Writing:
    """What the steps of writing share."""

    train: Acts
    test: Acts | None
    cut: Cut
    chosen: CutNetworkOptions

    @property
    def head(self) -> LinearHead:
        assert self.cut.head is not None
        return self.cut.head

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know: the network begins after what prepares its data."""
        data, found = section(self.train.provenance, "data"), []
        scaled = data.get("standardized")
        parts = scaled.get("parts") if isinstance(scaled, dict) else None
        if isinstance(parts, list) and parts:
            what = listed({"x": "inputs", "y": "targets"}.get(one, "data") for one in parts)
            how = f"the {what} were standardised (--standardize {','.join(map(str, parts))})"
            found.append(f"{how}, {AS_BEFORE}")
        if data.get("images") is not None:
            found.append(f"images were made inputs (--images), {AS_BEFORE}")
        return tuple(found)

    def write(
        self,
        model: str | Path | nn.Module,
        data: tuple[Any, Any],
        form: CutForm,
        path: Path,
        *,
        force: bool,
    ) -> tuple[Agreement, ...]:
        """Write the network, and return how it errs.

        Raises:
            InputError: it does not err by as much as was predicted.
        """
        from nrcscan.cutting.agreement import require_agreement
        from nrcscan.cutting.measured_network import open_measured, samples_of
        from nrcscan.cutting.whole_network import whole_network
        from nrcscan.cutting.written_forms import WRITERS

        network, settings = open_measured(model, self.train, self.chosen)
        ours, theirs = data
        if theirs is None and self.test is not None and _same_data(self.train, self.test):
            theirs = ours
        samples = [("TRAIN", self.train, list(samples_of(self.train, ours, self.chosen, "--data")))]
        if self.test is not None:
            found = samples_of(self.test, theirs, self.chosen, "--test-data")
            samples.append(("TEST", self.test, list(found)))
        first = samples[0][2][0]
        known = section(self.train.provenance, "checkpoint").get("sha256") is not None
        known = known and isinstance(model, str | Path)
        whole = whole_network(network, first, settings, self.train, known=known)
        source = whole.cut_before(self.cut.layer, self.head, self._told(path))
        writer = WRITERS[form]
        with write_together.put_together(form.paths(path), force=force) as folder:
            try:
                writer.write(source, whole.example, folder / path.name)
            except (OSError, RuntimeError) as error:
                raise write_atomically.unwritable(path, error) from error
            predict = writer.opened(folder / path.name)
            agreements = []
            for name, acts, parts in samples:
                agreements.append(self._agreement(name, acts, parts, whole, predict))
                require_agreement(agreements[-1], acts.path)
        return tuple(agreements)

    def _agreement(
        self, name: str, acts: Acts, parts: Sequence[Samples], whole: WholeNetwork, predict: Predict
    ) -> Agreement:
        """Return how the network errs on the samples of a file, and how it was to."""
        from nrcscan.cutting.agreement import Agreement, direct_error, tolerance

        statistics = acts.statistics(self.cut.position)
        assert isinstance(statistics, Statistics)  # or there were no such cut
        error, n_samples = direct_error(predict, whole.run, parts, BATCH)
        return Agreement(
            samples=name,
            n_samples=n_samples,
            predicted=float(self.head.squared_error(statistics).mean()),
            direct=float(error.mean()),
            tolerance=tolerance(
                self.head, statistics, acts, whole.n_products_before(self.cut.layer)
            ),
        )

    def _told(self, path: Path) -> list[str]:
        """Return what the Python file says of itself."""
        of = section(self.train.provenance, "checkpoint").get("path")
        name = Path(of).name if isinstance(of, str) else "a network in memory"
        from nrcscan.cutting.python_text import literal

        use = [
            f"A network that nrcscan has cut: {name} up to what reaches {self.cut.layer}, then a"
            " linear head.",
            "    network = build()",
            f"    network.load_state_dict(torch.load({literal(path.name)}, weights_only=True))",
            "    network.eval()",
        ]
        lines = list(map(printable, use))
        notes = [f"Note: {printable(note)}." for note in self.notes]
        return [lines[0], "\n".join(lines[1:]), *notes]


def _same_data(one: Acts, other: Acts) -> bool:
    """Whether two files say that their samples are of the same data."""
    ours, theirs = (section(acts.provenance, "data") for acts in (one, other))
    return any(ours.get(key) and ours[key] == theirs.get(key) for key in ("path", "sha256"))
