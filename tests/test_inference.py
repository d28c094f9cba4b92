"""What weights alone do not tell of a network: refused, tried on the data, or called doubtful."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Run, fitted, mlp
from safetensors.torch import save_file
from torch import Tensor, nn

import nrcscan
from nrcscan import InputError, extract, merge, report
from nrcscan.network.chain import ACTIVATIONS
from nrcscan.verdict.doubtful_network import Fit, doubts

N, WIDTH, T = 400, 6, 2


@pytest.fixture(scope="module")
def xy() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, WIDTH)).astype(np.float32)
    y = np.tanh(x @ rng.normal(size=(WIDTH, T))) + 0.3 * (x @ rng.normal(size=(WIDTH, T)))
    return x, ((y - y.mean(0)) / y.std(0)).astype(np.float32)


def sequential(*middle: nn.Module) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(WIDTH, 64), *middle, nn.Linear(64, T))


def deep(activation: str) -> nn.Sequential:
    torch.manual_seed(1)
    function = ACTIVATIONS[activation]
    inner = (nn.Linear(WIDTH, 64), function(), nn.Linear(64, 64), function())
    return nn.Sequential(*inner, nn.Linear(64, T))


def r2_of(network: nn.Module, x: np.ndarray, y: np.ndarray) -> float:
    with torch.no_grad():
        predictions = network.eval()(torch.tensor(x)).double().numpy()
    return float(1 - ((predictions - y) ** 2).mean() / y.astype(np.float64).var(axis=0).mean())


def save(path: Path, state: nn.Module | dict[str, Tensor]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state.state_dict() if isinstance(state, nn.Module) else state, path)
    return path


# --- the data tells the activation -------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "silu", "elu", "selu", "sigmoid"])
def test_the_activation_that_explains_most_is_taken(
    tmp_path: Path, xy: tuple[np.ndarray, np.ndarray], activation: str
) -> None:
    network = fitted(deep(activation), *xy)
    done = extract(save(tmp_path / "m.pt", network), xy, tmp_path / "a.h5", activations=False)
    right = r2_of(network, *xy)
    assert right > 0.8
    assert done.r2 == pytest.approx(right, abs=1e-4)
    (note,) = done.notes
    assert (
        f"6 → (64 → {activation}) × 2 → 2; on the first 400 samples {activation} explains " in note
    )
    assert f"{activation} explains {right:.3f}, " in note
    assert f"using {activation}; assumed: no skip connections" in note
    guess = report(done.path).provenance["model"]["guess"]
    assert (guess["activation"], guess["norm_first"]) == (activation, None)
    assert guess["r2"][activation] == pytest.approx(right, abs=1e-4)


def test_a_given_activation_is_not_tried(tmp_path: Path, xy: tuple[Any, Any]) -> None:
    path = save(tmp_path / "m.pt", fitted(deep("tanh"), *xy))
    done = extract(path, xy, tmp_path / "a.h5", activation="relu")
    assert done.trial is None
    assert done.notes[0].endswith("× 2 → 2; assumed: relu, no skip connections, nothing after the"
                                  " last layer")  # fmt: skip
    assert done.notes[1].startswith("DOUBTFUL NETWORK: as inferred, it explains ")


class Named(nn.Module):
    """A norm beside each layer, under names that tell no order."""

    def __init__(self, *, norm_first: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.bn1 = nn.Linear(WIDTH, 64), nn.BatchNorm1d(64)
        self.fc2, self.bn2, self.out = nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, T)
        self.norm_first = norm_first

    def features(self, x: Tensor) -> Tensor:
        for layer, norm in ((self.fc1, self.bn1), (self.fc2, self.bn2)):
            x = norm(layer(x)).relu() if self.norm_first else norm(layer(x).relu())
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.features(x))


class Residual(nn.Module):
    """Layers of equal width, each with a skip around it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.fc2, self.fc3 = nn.Linear(WIDTH, 32), nn.Linear(32, 32), nn.Linear(32, 32)
        self.out = nn.Linear(32, T)

    def features(self, x: Tensor) -> Tensor:
        h = self.fc1(x).relu()
        for layer in (self.fc2, self.fc3):
            h = h + layer(h).relu()
        return h

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.features(x))


def with_head(network: Any, x: np.ndarray, y: np.ndarray) -> Any:
    """Return a network whose head is the least-squares fit, with norms that have seen the data."""
    with torch.no_grad():
        for _ in range(100):
            network.train().features(torch.tensor(x))
        known = torch.hstack([network.eval().features(torch.tensor(x)), torch.ones(len(x), 1)])
        found = torch.linalg.lstsq(known.double(), torch.tensor(y).double()).solution.float()
        network.out.weight.copy_(found[:-1].T)
        network.out.bias.copy_(found[-1])
    return network


@pytest.mark.parametrize("norm_first", [True, False])
def test_the_order_of_norm_and_activation_is_tried(
    tmp_path: Path, xy: tuple[Any, Any], norm_first: bool
) -> None:
    network = with_head(Named(norm_first=norm_first), *xy)
    done = extract(save(tmp_path / "m.pt", network), xy, tmp_path / "a.h5")
    assert done.r2 == pytest.approx(r2_of(network, *xy), abs=1e-4)
    where = "after" if norm_first else "before"
    assert f"using relu {where} each norm; assumed: no skip connections" in done.notes[0]
    given = extract(tmp_path / "m.pt", xy, tmp_path / "b.h5", activation="relu")
    assert given.r2 == pytest.approx(done.r2)


def test_a_skip_that_was_left_out_is_said(cli: Run, tmp_path: Path, xy: tuple[Any, Any]) -> None:
    network = with_head(Residual(), *xy)
    right = r2_of(network, *xy)
    save(tmp_path / "m.pt", network)
    np.savez(tmp_path / "d.npz", X=xy[0], y=xy[1])
    done = cli("extract", "m.pt", "d.npz")
    assert done.returncode == 0
    assert (
        "note: DOUBTFUL GUESS: it may be no plain chain, as relu with a skip connection around"
        in (done.stderr)
    )
    assert f"explains {right:.3f}: network inferred" in done.stderr
    assert "note: DOUBTFUL NETWORK: as inferred, " in done.stderr
    shown = cli("report", "acts.h5").stdout
    assert "DOUBTFUL NETWORK: as inferred, " in shown
    found = report(tmp_path / "acts.h5")
    assert len(found.doubts) == 1
    assert found.to_dict()["model"]["doubts"] == list(found.doubts)
    assert not shown.startswith(("The model fits", "No layer", "Collapsed"))


def test_a_function_after_the_output_is_said(tmp_path: Path, xy: tuple[Any, Any]) -> None:
    x, y = xy
    y = (y / (1.02 * np.abs(y).max()) * 3).clip(-0.97, 0.97)
    network = fitted(deep("relu"), x, np.arctanh(y).astype(np.float32))
    right = r2_of(nn.Sequential(network, nn.Tanh()), x, y)
    done = extract(save(tmp_path / "m.pt", network), (x, y), tmp_path / "a.h5")
    assert right > 0.8
    assert f"as relu with tanh after the output explains {right:.3f}" in done.notes[0]


def test_a_flat_chain_of_equal_widths_is_no_suspect(tmp_path: Path, xy: tuple[Any, Any]) -> None:
    network = fitted(mlp(WIDTH, 32, 32, 32, T), *xy)
    done = extract(save(tmp_path / "m.pt", network), xy, tmp_path / "a.h5")
    assert done.r2 == pytest.approx(r2_of(network, *xy), abs=1e-4)
    assert report(done.path).doubts == ()


def test_guesses_that_no_sample_tells_apart(tmp_path: Path, xy: tuple[Any, Any]) -> None:
    network = deep("relu")
    with torch.no_grad():
        network.get_parameter("0.bias").add_(50)  # where relu never bends
        network.get_parameter("2.weight").abs_()
    fitted(network, *xy)
    done = extract(save(tmp_path / "m.pt", network), xy, tmp_path / "a.h5")
    assert "(not told apart)" in done.notes[0]
    assert "using relu" in done.notes[0]


def test_targets_that_do_not_vary_tell_nothing(tmp_path: Path, xy: tuple[Any, Any]) -> None:
    path = save(tmp_path / "m.pt", deep("tanh"))
    done = extract(path, (xy[0], np.ones((N, T))), tmp_path / "a.h5")
    assert done.notes[0].startswith("DOUBTFUL GUESS: the targets of the first samples do not vary")
    assert "assumed: relu, " in done.notes[0]


# --- no sample is lost, no shard guesses otherwise ----------------------------------------------


def test_data_that_is_read_once_loses_nothing(tmp_path: Path, xy: tuple[Any, Any]) -> None:
    path = save(tmp_path / "m.pt", fitted(deep("tanh"), *xy))

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, N, 7):
            yield xy[0][start : start + 7], xy[1][start : start + 7]

    whole = extract(path, xy, tmp_path / "a.h5", dtype="float64", n_workers=1)
    once = extract(path, batches(), tmp_path / "b.h5", dtype="float64", n_workers=1)
    assert once.n_samples == N
    assert once.r2 == pytest.approx(whole.r2, abs=1e-12)
    assert once.notes == whole.notes


def test_shards_of_a_file_make_the_same_guess(tmp_path: Path, xy: tuple[Any, Any]) -> None:
    path = save(tmp_path / "m.pt", fitted(deep("elu"), *xy))
    np.savez(tmp_path / "d.npz", X=xy[0], y=xy[1])
    whole = extract(path, tmp_path / "d.npz", tmp_path / "whole.h5")
    first = extract(path, tmp_path / "d.npz", tmp_path / "1.h5", limit=30)
    rest = extract(path, tmp_path / "d.npz", tmp_path / "2.h5", offset=30)
    assert whole.notes == first.notes == rest.notes
    merged = merge([first.path, rest.path], tmp_path / "m.h5")
    assert report(merged.path).r2 == pytest.approx(whole.r2, abs=1e-6)


def test_samples_left_out_need_not_be_readable(tmp_path: Path, xy: tuple[Any, Any]) -> None:
    x = xy[0].copy()
    x[3] = np.nan
    path = save(tmp_path / "m.pt", fitted(deep("tanh"), *xy))
    done = extract(path, (x, xy[1]), tmp_path / "a.h5", offset=10)
    assert "on the first 390 samples tanh explains" in done.notes[0]


# --- what is no part of a chain is refused, with its name ----------------------------------------


def chained(prefix: str, *widths: int) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in mlp(*widths).state_dict().items()}


REFUSED: dict[str, tuple[dict[str, Tensor], str]] = {
    "a loss's weights": (
        chained("net.", 6, 32, 7) | {"loss_fn.weight": torch.ones(7)},
        r"a 1-D weight alone shows no LayerNorm.*: loss_fn \(weight \(7,\)\); choose a part that is"
        r" a network by itself with --state-key net, or name",
    ),
    "a lone weight between layers": (
        {**chained("", 6, 32, 2), "1.weight": torch.ones(32)},
        r"1-D weight alone.*: 1 \(weight \(32,\)\); name the network's factory with --model$",
    ),
    "a loss's matrix": (
        chained("net.", 6, 32, 2) | {"criterion.weight": torch.eye(2)},
        r"beside the network, or copies of it: criterion \(weight \(2, 2\)\)",
    ),
    "an EMA copy that chains": (
        chained("net.", 4, 32, 4) | chained("ema_net.", 4, 32, 4),
        r"beside the network, or copies of it: ema_net.0 \(.*and ema_net.2 \(.*--state-key net or",
    ),
    "a copy by any other name": (
        chained("net.", 4, 32, 4) | chained("polyak.", 4, 32, 4),
        r"net and polyak may be copies, branches, or blocks with a skip connection, as both are"
        r" 4 → 32 → 4; choose a part that is a network by itself with --state-key net or"
        r" --state-key polyak, or name the network's factory with --model$",
    ),
    "twin critics": (
        chained("q1.", 4, 32, 1) | chained("q2.", 4, 32, 1), r"q1 and q2 may be copies",
    ),
    "a branch that chains": (
        chained("actor.", 4, 32, 4) | chained("critic.", 4, 32, 1),
        r"actor and critic may be .* as both begin 4 → 32;",
    ),
    "an adapter": (
        chained("", 8, 8, 2) | {"0.lora_A.weight": torch.ones(3, 8), "0.lora_B.weight":
                                torch.ones(8, 3)},
        r"weights that act on others: 0.lora_A \(weight \(3, 8\)\) and 0.lora_B",
    ),
    "blocks that may be residual": (
        chained("blocks.0.", 8, 8, 8) | chained("blocks.1.", 8, 8, 8) | chained("head.", 8, 2),
        r"blocks.0 and blocks.1 may be copies, branches, or blocks with a skip connection.*; name",
    ),
    "heads": (
        chained("body.", 6, 32, 16) | chained("mu.", 16, 2) | chained("sigma.", 16, 2),
        r"mu.0 gives 2, sigma.0 takes 16; leave a branch aside with --ignore 'mu.\*' or --ignore"
        r" 'sigma.\*', or",
    ),
    "branches of two layers": (
        chained("body.", 6, 32, 16) | chained("mu.", 16, 8, 2) | chained("v.", 16, 8, 1),
        r"; leave a branch aside with --ignore 'mu.\*' or --ignore 'v.\*', or",
    ),
    "statistics beside layers": (
        chained("", 6, 32, 2) | {"mean": torch.ones(6), "std": torch.ones(6)},
        r"; name the .* or where it runs without them leave them aside with --ignore 'mean'"
        r" --ignore 'std'$",
    ),
    "a scale after the output": (
        chained("net.", 6, 32, 2) | {"scale.weight": torch.ones(2), "scale.bias": torch.ones(2)},
        r"a weight and a bias of one axis after the output, scale;",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_part_of_a_chain_is_refused(
    tmp_path: Path, xy: tuple[Any, Any], what: str
) -> None:
    state, message = REFUSED[what]
    with pytest.raises(InputError, match=message):
        extract(save(tmp_path / "m.pt", state), xy, tmp_path / "a.h5")
    assert not (tmp_path / "a.h5").exists()


def test_a_trunk_and_a_head_are_one_chain(tmp_path: Path, xy: tuple[Any, Any]) -> None:
    network = fitted(mlp(WIDTH, 64, 64, T), *xy)
    names = {"0": "trunk.0", "2": "trunk.2", "4": "head.0"}
    state = {
        f"{names[key.partition('.')[0]]}.{key.partition('.')[2]}": value
        for key, value in network.state_dict().items()
    }
    done = extract(save(tmp_path / "m.pt", state), xy, tmp_path / "a.h5")
    assert done.r2 == pytest.approx(r2_of(network, *xy), abs=1e-4)


def without_names(layers: dict[str, nn.Linear]) -> dict[str, Tensor]:
    return {f"{n}.{leaf}": v for n, one in layers.items() for leaf, v in one.state_dict().items()}


@pytest.mark.parametrize(
    ("names", "assumed"),
    [
        (("fc1", "fc2", "fc10"), "using relu; assumed: no skip"),
        (("input", "hidden", "action"), "layers in the one order that their widths allow, no skip"),
    ],
)
def test_layers_that_a_file_sorts_by_name(
    tmp_path: Path, xy: tuple[Any, Any], names: tuple[str, ...], assumed: str
) -> None:
    network = fitted(mlp(WIDTH, 32, 32, T), *xy)
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    save_file(without_names(dict(zip(names, layers, strict=True))), tmp_path / "m.safetensors")
    done = extract(tmp_path / "m.safetensors", xy, tmp_path / "a.h5")
    assert done.layers == names
    assert done.r2 == pytest.approx(r2_of(network, *xy), abs=1e-4)
    assert assumed in done.notes[0]


def test_an_order_that_neither_names_nor_widths_tell(tmp_path: Path, xy: tuple[Any, Any]) -> None:
    layers = {"hidden": nn.Linear(8, 8), "body": nn.Linear(8, 8)}
    ends = {"start": nn.Linear(6, 8), "action": nn.Linear(8, 2)}
    save_file(without_names({**layers, **ends}), tmp_path / "m.safetensors")
    told = "several orders, as start → body → hidden → action"
    with pytest.raises(InputError, match=f"{told}; name the network's factory"):
        extract(tmp_path / "m.safetensors", xy, tmp_path / "a.h5")


def test_numbers_that_leave_no_room_for_an_activation(tmp_path: Path, xy: tuple[Any, Any]) -> None:
    made = [nn.Linear(WIDTH, 32), nn.Tanh(), nn.Linear(32, 3), nn.Linear(3, 32), nn.Tanh()]
    network = fitted(nn.Sequential(*made, nn.Linear(32, T)), *xy)
    done = extract(save(tmp_path / "m.pt", network), xy, tmp_path / "a.h5")
    assert done.r2 == pytest.approx(r2_of(network, *xy), abs=1e-4)
    assert "6 → 32 → tanh → 3 → 32 → tanh → 2; on the first" in done.notes[0]


@pytest.mark.parametrize("axes", ["x", "y", "x,y"])
def test_data_on_another_scale_than_in_training(
    tmp_path: Path, xy: tuple[Any, Any], axes: str
) -> None:
    x, y = ((part - part.mean(0)) / part.std(0) for part in xy)
    network = fitted(deep("tanh"), x, y)
    data = (40 * x - 300 if "x" in axes else x, 50 * y + 100 if "y" in axes else y)
    save(tmp_path / "m.pt", network)
    done = extract(tmp_path / "m.pt", data, tmp_path / "a.h5")
    right = r2_of(network, x, y)
    assert f"as tanh with --standardize {axes} explains {right:.3f}: network" in done.notes[0]
    assert f"; use --standardize {axes}, or" in done.notes[0]
    told = extract(tmp_path / "m.pt", data, tmp_path / "b.h5", standardize=axes)
    assert told.r2 == pytest.approx(right, abs=1e-4)


# --- a head that does not fit -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fit", "doubtful"),
    [
        (Fit(0.805, 0.195, 1.0, 400, 0.0115, 30), True),  # another function: 17 times
        (Fit(0.867, 0.133, 1.0, 800, 0.110, 3), False),  # a trained head: 1.2 times
        (Fit(0.49, 0.51, 1.0, 400, None, None), True),  # explains too little
        (Fit(0.51, 0.49, 1.0, 400, None, None), False),
        (Fit(None, 0.5, 0.0, 400, 0.1, 30), False),  # targets that do not vary
        (Fit(0.9999, 1e-4, 1.0, 400, 1e-6, 30), False),  # a hundred times, and nothing of it
        (Fit(1.0, 1e-14, 1.0, 400, 0.0, 30), False),  # round-off
        (Fit(0.7, 0.3, 1.0, 100, 0.1, 80), False),  # a fit with as many directions as samples
        (Fit(0.7, 0.3, 1.0, 100, 0.2 * 0.69, 30), False),  # 2.2 times, before its correction
    ],
)
def test_when_a_head_does_not_fit(fit: Fit, doubtful: bool) -> None:
    assert bool(list(doubts(fit))) == doubtful


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_doubts_do_not_depend_on_the_unit(scale: float) -> None:
    assert list(doubts(Fit(0.8, 0.2 * scale, scale, 400, 0.01 * scale, 30)))
    assert not list(doubts(Fit(0.8, 0.2 * scale, scale, 400, 0.15 * scale, 30)))


# --- a scan -------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, xy: tuple[Any, Any]) -> Path:
    """A run of a tanh network: untrained, half-way, trained."""
    trained = fitted(deep("tanh"), *xy).state_dict()
    fresh = deep("tanh").state_dict()
    for epoch, share in enumerate((0.0, 0.7, 1.0)):
        state = {k: fresh[k] + share * (trained[k] - fresh[k]) for k in trained}
        save(tmp_path / "runs" / "a" / f"epoch_{epoch}.pt", state)
    np.savez(tmp_path / "d.npz", X=xy[0], y=xy[1])
    return tmp_path / "runs"


@pytest.mark.usefixtures("workers_here")
def test_a_run_is_one_network_at_several_times(
    run: Path, tmp_path: Path, xy: tuple[Any, Any]
) -> None:
    notes: list[str] = []
    found = nrcscan.scan(run, tmp_path / "d.npz", tmp_path / "out", jobs=1, on_note=notes.append)
    for checkpoint in found.checkpoints:
        assert checkpoint.result is not None
        path = run / checkpoint.path
        right = deep("tanh")
        right.load_state_dict(torch.load(path, weights_only=True))
        assert checkpoint.result["model"]["r2"] == pytest.approx(r2_of(right, *xy), abs=1e-4)
        assert any("(64 → tanh) × 2" in note for note in checkpoint.notes)
    told = json.loads((tmp_path / "out" / "scan.json").read_text())["notes"]
    paths = [path for entry in told for path in entry["checkpoints"]]
    assert set(paths) == {f"a/epoch_{epoch}.pt" for epoch in range(3)}
    assert any(note.startswith("a/epoch_0.pt: ") and "DOUBTFUL NETWORK" in note for note in notes)
    first = (tmp_path / "out" / "scan.json").read_bytes()
    again = nrcscan.scan(run, tmp_path / "d.npz", tmp_path / "out", jobs=1)
    assert again.n_known == 3
    assert (tmp_path / "out" / "scan.json").read_bytes() == first


@pytest.mark.usefixtures("workers_here")
def test_what_an_earlier_scan_knew_changes_nothing(run: Path, tmp_path: Path) -> None:
    data = tmp_path / "d.npz"
    last = run / "a" / "epoch_2.pt"
    kept = last.read_bytes()
    last.unlink()  # so that the first scan has little to guess from
    nrcscan.scan(run, data, tmp_path / "bit_by_bit", jobs=1)
    last.write_bytes(kept)
    nrcscan.scan(run, data, tmp_path / "bit_by_bit", jobs=1)
    nrcscan.scan(run, data, tmp_path / "at_once", jobs=1)
    one, two = (tmp_path / name / "scan.json" for name in ("bit_by_bit", "at_once"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.usefixtures("workers_here")
def test_another_network_in_a_run_stays_what_it_is(
    run: Path, tmp_path: Path, xy: tuple[Any, Any]
) -> None:
    other = fitted(deep("relu"), *xy)
    save(run / "a" / "other.pt", other)
    found = nrcscan.scan(run, tmp_path / "d.npz", tmp_path / "out", jobs=1)
    by_path = {checkpoint.path: checkpoint for checkpoint in found.checkpoints}
    stays = by_path["a/other.pt"]
    assert stays.result is not None
    assert stays.result["model"]["r2"] == pytest.approx(r2_of(other, *xy), abs=1e-4)
    assert any(
        note.startswith("DOUBTFUL RUN: inferred with relu, where other checkpoints")
        for note in stays.notes
    )


def test_without_predictions_nothing_tells_the_activation(
    tmp_path: Path, xy: tuple[Any, Any]
) -> None:
    path = save(tmp_path / "m.pt", deep("tanh"))
    done = extract(path, xy, tmp_path / "a.h5", predictions=False)
    note = next(note for note in done.notes if "inferred" in note)
    assert note.startswith("DOUBTFUL GUESS: without predictions, so nothing could be tried")
    assert note.endswith("choose with --activation")
    assert "explains" not in note
