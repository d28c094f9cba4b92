"""The page of the reproduction, from the results that are kept.

    python -m reproduction.page docs/reproduction.md

writes the page, and its figures into the folder of its name beside it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from nrcscan.files.write_atomically import write_text
from nrcscan.reporting.markdown import markdown_row
from reproduction.agreement import Agreement, Finding, Sensitivity, counts
from reproduction.conventions import WHY, differences, other_verdicts
from reproduction.cuts_found import AGREES_TO, cuts_of, farthest
from reproduction.estimates import Estimate, told
from reproduction.figures import Picture, pictures
from reproduction.findings import found
from reproduction.paper import PAPER
from reproduction.results import Result, Results, read_results

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "reproduction" / "results"

MARKS = {
    Agreement.AGREES: "**agrees**",
    Agreement.DISAGREES: "**disagrees**",
    Agreement.UNDECIDED: "undecided",
    Agreement.NOT_TESTED: "not tested",
}


def page(results: Results, drawn: Sequence[Picture], folder: str) -> str:
    """Return the page.

    Args:
        results: what was found.
        drawn: its figures.
        folder: where they are, as seen from the page.
    """
    findings = found(results)
    parts = [
        _beginning(results, findings),
        _trained(results),
        "## Each finding\n\n" + _how_to_read(),
        *(_section(number, finding) for number, finding in enumerate(findings, 1)),
        _figures(drawn, folder),
        _conventions(results),
        _cuts(results),
        _anew(),
    ]
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    lines = [markdown_row(head), "|" + "---|" * len(head), *map(markdown_row, rows)]
    return "\n".join(lines)


# --- the first screen -------------------------------------------------------------------------


def _beginning(results: Results, findings: Sequence[Finding]) -> str:
    rows = [
        (
            f"[{finding.title}](#{anchor(number, finding)})",
            _short(finding.source),
            MARKS[finding.answer],
            finding.by_answer,
        )
        for number, finding in enumerate(findings, 1)
    ]
    asked = (
        "Does what *Deep Neural Regression Collapse* (Rangamani & Unal, CPAL 2026, PMLR"
        " 328:565–581, arXiv 2603.23805) says hold on networks trained here? And what *Geometric"
        " Properties of Neural Multivariate Regression* (arXiv 2510.01105) says of collapse and"
        f" test error? {_size(results)}"
    )
    rule = (
        "A finding disagrees as soon as one data set does; it is undecided where error bars, or"
        " seeds that differ, leave it open. The rules were written before the results, and say"
        " what would disagree. One was narrowed when the first results were there, and GEMM"
        " timings are measured at one direction since then: both are said where they matter, with"
        " the answers otherwise."
    )
    head = ("finding", "where", "answer", "data sets")
    return f"# The papers' findings, found again or not\n\n{asked}\n\n{table(head, rows)}\n\n{rule}"


def _short(source: str) -> str:
    return source.split(",")[0]


def _size(results: Results) -> str:
    seconds = sum(sum(one.document["seconds"].values()) for one in results)
    networks, groups = len(results), len(results.groups)
    seeds = len({one.seed for one in results})
    return (
        f"{networks} networks on {groups} data sets, of up to {seeds} seeds, most narrower and"
        " trained for fewer epochs than the paper's: what is said here is said of those. `make"
        f" reproduce` trains and measures them in {seconds / 60:.0f} minutes of processor time,"
        " without a GPU; on two cores that is half as long. Versions are those of"
        " `constraints.txt`."
    )


def anchor(number: int, finding: Finding) -> str:
    """Return what a link to a finding's section ends with.

    >>> from reproduction.agreement import Finding
    >>> anchor(3, Finding("The targets' rank", "", "", "", "", (), ()))
    '3-the-targets-rank'
    """
    kept = (c for c in f"{number} {finding.title}".lower() if c.isalnum() or c in " -")
    return "".join(kept).replace(" ", "-")


# --- what was trained -------------------------------------------------------------------------


def _trained(results: Results) -> str:
    rows = [(group, *_setup(own)) for group, own in results.groups.items()]
    head = ("data set", "samples", "network", "epochs", "rate", "λ", "seeds", "the paper's")
    how = (
        f"SGD with momentum {_each(one.run['momentum'] for one in results)} in batches of"
        f" {_each(one.run['batch'] for one in results)} on the mean squared error, the rate"
        " rising over the first epochs and a tenth over the last fifth; targets standardised."
        " Samples are those trained on; λ is the weight decay; width is of an MLP's layers, or of"
        " the first convolution."
    )
    where = (
        "Swimmer and Reacher are states and actions of controllers (`fixtures/`), Hopper likewise"
        " (`reproduction/make_hopper.py`); gemm are timings of matrix products on a processor in"
        " place of a GPU's (`reproduction/measure_gemm.py`), four of each; road are rendered images"
        " with steering and speed in place of Carla2D's. UTKFace, a set of photographs, is not"
        " tried."
    )
    return f"## What was trained\n\n{how}\n\n{table(head, rows)}\n\n{where}"


def _setup(own: Sequence[Result]) -> tuple[str, ...]:
    run = own[0].run
    paper = PAPER.get(run["data"])
    what = {"mlp": "MLP", "convolutional": "convolutional", "resnet18": "ResNet-18"}
    depth = "" if run["network"] == "resnet18" else f"{run['depth']}-layer "
    theirs = "—"
    if paper is not None:
        decay = "" if paper.weight_decay is None else f", λ = {paper.weight_decay:g}"
        epochs = "" if paper.epochs is None else f", {paper.epochs} epochs"
        theirs = f"{paper.data}: {paper.network}, {paper.samples:,} samples{epochs}{decay}"
    return (
        _each(str(one.last["n_samples"]) for one in own),
        f"{depth}{what.get(run['network'], run['network'])}, width"
        f" {_each(o.run['width'] for o in own)}",
        _each(one.run["epochs"] for one in own),
        _each(f"{one.run['rate']:g}" for one in own),
        _each(f"{one.weight_decay:g}" for one in own),
        str(len({one.seed for one in own})),
        theirs,
    )


def _each(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))


# --- findings ---------------------------------------------------------------------------------


def _how_to_read() -> str:
    return (
        "`a ± s` is a mean over seeds with its standard error; networks of one seed that differ"
        " in λ alone count once, by their mean. Of one seed, s is the standard error over blocks"
        " of samples. *Surely* is by three standard errors, as nrcscan has it"
        " ([verdict](verdict.md)); a network fits if R² ≥ 0.5. Layers are counted as the verdict"
        " counts them: neither the network's inputs nor shortcuts. Below a table stands how the"
        " answers change with a threshold of ours, the one that is used in bold; at other"
        " thresholds than nrcscan's own, chance and directions that trade places are what they"
        " are at its own."
    )


def _section(number: int, finding: Finding) -> str:
    rows = [
        (row.group, *row.cells, MARKS[row.answer] if row.claimed else f"({row.answer.value})")
        for row in finding.rows
    ]
    tested = any(row.claimed for row in finding.rows)
    parts = [
        f"### {number}. {finding.title}",
        f"{MARKS[finding.answer]} ({finding.by_answer})",
        f"- **The paper** ({finding.source}): {finding.claim}.\n"
        f"- **Measured:** {finding.statistic}.\n"
        f"- **Rule:** {finding.rule}.",
        table(("data set", *finding.head, "answer"), rows)
        if rows
        else "No data set is of this kind.",
        *(_sensitivity(one) for one in finding.sensitivity if tested),
        *finding.remarks,
    ]
    return "\n\n".join(parts)


def _sensitivity(one: Sensitivity) -> str:
    values = [f"{value:g}" if isinstance(value, float | int) else value for value in one.answers]
    shown = [
        f"**{word}**" if value == one.default else word
        for word, value in zip(values, one.answers, strict=True)
    ]
    return table((one.threshold, *shown), [("", *map(counts, one.answers.values()))])


# --- figures, conventions, cuts ---------------------------------------------------------------


def _figures(drawn: Sequence[Picture], folder: str) -> str:
    parts = [
        "## The paper's figures\n\nDrawn by `nrcscan plot` from the results;"
        " [Figures](figures.md) says how to read them. Networks that differ in their seed alone"
        " are one curve with a band. Figures are numbered as in the proceedings."
    ]
    title = ""
    for one in drawn:
        if one.title != title:
            title = one.title
            parts.append(f"### {title}")
        text = f"{one.shows[0].upper()}{one.shows[1:]}."
        parts.append(
            f"<!-- drawn from {one.digest} -->\n![{text}]({folder}/{one.name}.png)\n\n{text}"
        )
    return "\n\n".join(parts)


def _conventions(results: Results) -> str:
    apart = differences(results)
    rows = [
        (
            f"`{one.quantity}`",
            f"{one.differ} of {one.layers}",
            f"{one.middle:.2g}",
            f"{one.ours:.4g} / {one.theirs:.4g} (`{one.where}`)" if one.where else "—",
            str(one.only_theirs),
            WHY.get(one.quantity, "—"),
        )
        for one in apart
        if one.differ or one.only_theirs or one.only_ours
    ]
    alike = [one.quantity for one in apart if not (one.differ or one.only_theirs or one.only_ours)]
    others = other_verdicts(results)
    head = ("quantity", "layers", "median", "farthest apart, ours / theirs", "theirs alone", "why")
    return (
        "## The authors' conventions against ours\n\nThe same networks on the same samples under"
        " `--convention published`, which computes as the authors' script does. In how many"
        " layers the two differ, by how much (the median; of an error ratio as a share of the"
        " larger), where most, and in how many layers theirs alone is a"
        f" number.\n\n{table(head, rows)}\n\nThe same in both:"
        f" {', '.join(f'`{name}`' for name in alike)}. The verdict, or the layer that it names, is"
        f" another on {len(others)} of {len(results)} networks."
    )


def _cuts(results: Results) -> str:
    rows = [
        (
            one.group,
            f"{one.decay:g}",
            told(one.own),
            f"{one.cut} of {one.networks}",
            told(one.place),
            "—" if one.kept is None else _percent(one.kept),
            "—" if one.change is None else _percent(one.change, signed=True),
            "—" if one.best is None else _percent(one.best, signed=True),
            "—" if one.refitted is None else _percent(one.refitted, signed=True),
        )
        for one in cuts_of(results)
    ]
    head = (
        "data set",
        "λ",
        "network's held-out MSE",
        "networks with a cut",
        "before position",
        "weights kept",
        "its MSE",
        "the best cut's",
        "last layer refitted",
    )
    text = "## Cuts\n\n"
    if results:
        most, where = farthest(results)
        tolerances = {one.document["cuts"]["within"] for one in results}
        met = "met" if most <= AGREES_TO else "NOT MET"
        text += (
            "`nrcscan cut` tells from statistics alone what a network would err if it ended"
            " before a layer and went on with a linear head. Each cut was also run, in float64,"
            f" on all samples: predicted and direct errors differ by {most:.1e} at most, as a"
            f" share of the error (`{where}`); {AGREES_TO:g} is required: {met}.\n\nWhat it gives:"
            " the smallest cut that is surely no more than"
            f" {_each(f'{one:.0%}' for one in sorted(tolerances))} worse than the network on"
            " held-out samples, the share of weights that it keeps, its MSE less the network's as"
            " a share of that, and the same of the cut with the least error (the least of"
            " several: somewhat too good) and of the last cut, which fits the last layer alone"
            " anew: what a cut gains beyond that is due to the layers that it leaves out. Where a"
            " network predicts nothing, a linear model of its inputs (position 0) does"
            " better.\n\n"
        )
    return text + table(head, rows)


def _percent(one: Estimate, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    error = "" if one.error is None else f" ± {one.error:.1%}"
    return f"{one.value:{sign}.1%}{error}".replace("-0.0%", f"{sign}0.0%")


def _anew() -> str:
    return """## Anew

<!-- not run: it takes the better part of an hour -->
```console
$ make reproduce
$ python -m reproduction --keep
$ python -m reproduction.page docs/reproduction.md
$ nrcscan plot build/reproduction/swimmer-wd0.005-seed0/train.h5
```

The first trains and measures, and goes on where it was ended; the second keeps what was found in
`reproduction/results/`; the third makes this page and its figures from what is kept. The last draws
one network; with several and `--label` as in [Figures](figures.md) they are those above.

Training amplifies rounding: on another processor the networks are others. What has to agree there
is said in [reproduction/README.md](../reproduction/README.md); that this
page is what the kept results say is tested."""


def main() -> None:
    """Write the page and its figures."""
    parser = argparse.ArgumentParser(prog="python -m reproduction.page", description=main.__doc__)
    parser.add_argument("page", type=Path, help="the page, such as docs/reproduction.md")
    parser.add_argument("--results", type=Path, default=KEPT, help="a folder of results")
    chosen = parser.parse_args()
    results = read_results(chosen.results)
    drawn = pictures(results)
    folder = chosen.page.with_suffix("")
    folder.mkdir(exist_ok=True)
    for stale in folder.glob("figure-*.png"):
        stale.unlink()
    for one in drawn:
        one.write(folder)
    write_text(chosen.page, page(results, drawn, folder.name))


if __name__ == "__main__":
    main()
