"""Networks measured while they train: the numbers of a saved checkpoint, and nothing disturbed."""

from __future__ import annotations

import json
import logging
import random
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, Run, as_rank_of, fitted, mlp, samples
from torch import distributed, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import nrcscan
from nrcscan import InputError, Report, UsageError
from nrcscan.scanning.read_scan import read_scan
from nrcscan.training import Monitor, flat, lightning_callback, tensorboard_log, trainer_callback

Arrays = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def data() -> Arrays:
    return samples(400, 5, 2)


def trained(model: nn.Module, data: Arrays, steps: int = 20) -> None:
    """Take some steps of a training."""
    x, y = (torch.tensor(part) for part in data)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()


def numbers(report: Report | None) -> dict[str, Any]:
    """Return all that a report says, but for where it comes from."""
    assert report is not None
    whole = report.to_dict()
    del whole["provenance"]
    return whole


class Noisy(nn.Module):
    """A network with all that a pass could disturb."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.Dropout(0.5))
        self.frozen = nn.Linear(16, 16)
        self.head = nn.Linear(16, 2)
        self.frozen.requires_grad_(False)
        self.body[1].eval()  # as some keep it while the rest trains
        self.calls: torch.Tensor
        self.norm: torch.Tensor
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("norm", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1  # in place
        features: torch.Tensor = self.body(x)
        self.norm = features.norm()  # another tensor
        random.random(), np.random.random()
        return self.head(torch.relu(self.frozen(features)) + 0 * torch.rand(1))


# --- the numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", ["random", "first"])
def test_numbers_are_those_of_a_saved_checkpoint(data: Arrays, tmp_path: Path, draw: Any) -> None:
    model = mlp(5, 16, 16, 2)
    monitor = Monitor(data, tmp_path / "out", every=2, samples=300, draw=draw)
    for epoch in range(3):
        trained(model, data)
        found = monitor(model, epoch)
        assert (found is None) == (epoch == 1)
        if found is not None:
            torch.save(model, tmp_path / "model.pt")
            nrcscan.extract(
                tmp_path / "model.pt", monitor.sample, tmp_path / "a.h5", trust=True, force=True
            )
            assert numbers(found) == numbers(nrcscan.report(tmp_path / "a.h5"))
            assert found.n_samples == 300
    if draw == "first":
        nrcscan.extract(model, data, tmp_path / "b.h5", limit=300)
        assert numbers(monitor.report) == numbers(nrcscan.report(tmp_path / "b.h5"))
    assert [(one.path, one.epoch) for one in monitor.history] == [("epoch_0", 0), ("epoch_2", 2)]


def test_options_of_a_pass_and_a_report_hold(data: Arrays, tmp_path: Path) -> None:
    options: dict[str, Any] = {"layers": "2", "signal_dim": 1, "standardize": "y"}
    monitor = Monitor(data, None, measures="all", **options)
    model = mlp(5, 16, 16, 2)
    found = monitor.measure(model, 1)
    assert found is not None
    assert ([layer.name for layer in found.layers], found.signal_dim) == (["2"], 1)
    assert found.measures is not None
    nrcscan.extract(model, data, tmp_path / "a.h5", layers="2", standardize="y", measures="all")
    assert numbers(found) == numbers(
        nrcscan.report(tmp_path / "a.h5", signal_dim=1, measures="all")
    )


def test_a_network_is_left_as_it_was_found(data: Arrays) -> None:
    model = Noisy()
    trained(model, data, 2)
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    hooked: list[int] = []
    model.head.register_forward_hook(lambda *_: hooked.append(1))

    def state() -> list[Any]:
        found: list[Any] = [module.training for module in model.modules()]
        found += [len(module._forward_hooks) for module in model.modules()]
        for parameter in model.parameters():
            gradient = None if parameter.grad is None else parameter.grad.tolist()
            found += [id(parameter), parameter.tolist(), gradient, parameter.requires_grad]
        for buffer in model.buffers():
            found += [id(buffer), buffer.tolist(), buffer.is_inference()]
        found += [
            random.getstate(),
            [str(part) for part in np.random.get_state()],
            torch.get_rng_state().tolist(),
        ]
        return [*found, torch.is_grad_enabled(), torch.get_num_threads()]

    before = state()
    monitor = Monitor(data, None)
    assert state() == before
    assert monitor.measure(model, 0) is not None
    assert hooked  # it ran
    assert state() == before
    trained(model, data, 1)


def test_training_goes_the_same_way_with_and_without(data: Arrays) -> None:
    ends = []
    for watched in (False, True):
        torch.manual_seed(0)
        model = Noisy()
        monitor = Monitor(data, None, every=1) if watched else None
        for epoch in range(3):
            trained(model, data, 3)
            if monitor is not None:
                monitor(model, epoch)
        ends.append([p.tolist() for p in model.parameters()])
    assert ends[0] == ends[1]


def test_no_autocast_rounds_and_wrappers_leave_no_trace(data: Arrays) -> None:
    model = mlp(5, 16, 16, 2)
    monitor = Monitor(data, None)
    plain = numbers(monitor.measure(model, 0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert numbers(monitor.measure(model, 0)) == plain
        assert torch.is_autocast_enabled("cpu")
    assert numbers(monitor.measure(nn.DataParallel(model), 0)) == plain
    compiled = torch.compile(model, backend="eager")
    assert numbers(monitor.measure(compiled, 0)) == plain  # type: ignore[arg-type]


# --- the sample -------------------------------------------------------------------------------


def sampled(data: Any, **options: Any) -> Any:
    """Return the samples that a monitor draws."""
    return Monitor(data, None, **options).sample


class Counting(Dataset[Any]):
    """Samples made when they are asked for."""

    def __init__(self, data: Arrays) -> None:
        self.data, self.asked = data, list[int]()

    def __len__(self) -> int:
        return len(self.data[1])

    def __getitem__(self, index: int) -> Any:
        self.asked.append(index)
        torch.rand(1)
        return self.data[0][index], self.data[1][index]


def test_a_sample_is_drawn_once_and_in_order(data: Arrays, tmp_path: Path) -> None:
    x, y = sampled(data, samples=50)
    rows = [int(np.flatnonzero((data[0] == row).all(axis=1))[0]) for row in x]
    assert rows == sorted(set(rows))
    assert len(rows) == 50
    assert max(rows) > 200
    assert np.array_equal(y, data[1][rows])
    assert not np.array_equal(x, sampled(data, samples=50, seed=1)[0])
    np.savez(tmp_path / "data.npz", X=data[0], y=data[1])
    torch.manual_seed(5)
    lazy = Counting(data)
    loader = DataLoader(lazy, batch_size=7, shuffle=True)
    before = torch.get_rng_state()
    for form in (tmp_path / "data.npz", lazy, loader, TensorDataset(*map(torch.tensor, data))):
        assert np.array_equal(sampled(form, samples=50)[0], x)
    assert lazy.asked == rows * 2  # no others were made
    assert torch.equal(torch.get_rng_state(), before)
    part = sampled(data, samples=50, offset=100, limit=60)[0]
    assert all((data[0][100:160] == row).all(axis=1).any() for row in part)
    batches = [(data[0][i : i + 90], data[1][i : i + 90]) for i in range(0, 400, 90)]
    first = sampled(iter(batches), samples=100)[0]  # of unknown number
    assert np.array_equal(first, data[0][:100])


def test_bad_data_and_options_are_refused_at_once(data: Arrays, tmp_path: Path) -> None:
    bad = data[0].copy()
    bad[3, 1] = np.nan
    with pytest.raises(InputError, match="the inputs hold NaN, first in sample 3"):
        Monitor((bad, data[1]), None)
    with pytest.raises(UsageError, match="every 0: give at least 1"):
        Monitor(data, None, every=0)
    with pytest.raises(TypeError, match="takes no argument factory: the network is in memory"):
        Monitor(data, None, factory="net.py:build")
    with pytest.raises(TypeError, match="takes no argument samplse; did you mean samples?"):
        Monitor(data, None, samplse=3)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match=r"stop 'onset.all <=': the rule stops at the end"):
        Monitor(data, None, stop="onset.all <= ")
    with pytest.raises(UsageError, match=r"epoch 1\.5 or step None is no count"):
        Monitor(data, None)(mlp(5, 4, 2), 1.5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"epoch 0 or step 10+ is no count"):
        Monitor(data, None)(mlp(5, 4, 2), 0, 10**30)
    with pytest.raises(UsageError, match="the network is of type OrderedDict; give an nn.Module"):
        Monitor(data, None)(mlp(5, 4, 2).state_dict(), 0)  # type: ignore[arg-type]
    (tmp_path / "file").touch()
    with pytest.raises(nrcscan.OutputError, match="cannot be made: .*; choose another output"):
        Monitor(data, tmp_path / "file" / "out")
    with pytest.raises(UsageError, match="layers"):
        Monitor(data, None, layers="nothing").measure(mlp(5, 4, 2), 0)


# --- the history ------------------------------------------------------------------------------


def test_the_history_is_a_scan(data: Arrays, tmp_path: Path, cli: Run, workers_here: None) -> None:
    model = mlp(5, 16, 16, 2)
    for name in ("a", "b"):
        monitor = Monitor(data, tmp_path / name, every=1)
        for epoch in range(2):
            trained(model, data)
            monitor(model, epoch, step=20 * (epoch + 1))
            found = read_scan(tmp_path / name)
            assert len(found["checkpoints"]) == epoch + 1
        told = json.loads((tmp_path / name / "scan.json").read_text())
        assert told["schema"] == "nrcscan.scan/2"
        assert told["provenance"]["training"] == {
            "every": 1, "samples": 2048, "draw": "random", "seed": 0
        }  # fmt: skip
        assert [c["path"] for c in told["checkpoints"]] == ["epoch_0-step_20", "epoch_1-step_40"]
        assert told["checkpoints"][1]["step"] == 40
        assert {p.name for p in (tmp_path / name).iterdir()} == {"scan.json"}
    done = cli("compare", "a", "b")
    assert done.returncode == 0, done.stderr
    torch.save(mlp(5, 16, 2).state_dict(), tmp_path / "a" / "model.pt")
    np.savez(tmp_path / "data.npz", X=data[0], y=data[1])
    done = cli("scan", "a", "data.npz", "-o", "scan", "--format", "json")
    assert [c["path"] for c in json.loads(done.stdout)["checkpoints"]] == ["model.pt"]
    assert any(s["path"] == "scan.json" for s in json.loads(done.stdout)["skipped"])


def test_a_history_is_continued_or_replaced_when_told(data: Arrays, tmp_path: Path) -> None:
    model, out = mlp(5, 16, 2), tmp_path / "out"
    first = Monitor(data, out, every=1)
    for epoch in range(4):
        first(model, epoch)
    with pytest.raises(UsageError, match='exists already; go on with it by existing="continue"'):
        Monitor(data, out)
    again = Monitor(data, out, every=3, existing="continue")
    assert again.history == first.history
    trained(model, data)
    assert again(model, 2) is None
    assert again(model, 3) is not None  # a later one of before is no longer of this training
    assert [one.epoch for one in again.history] == [0, 1, 2, 3]
    again.measure(model, 1)
    assert [one.epoch for one in again.history] == [0, 1]
    assert [c["epoch"] for c in read_scan(out)["checkpoints"]] == [0, 1]
    with pytest.raises(UsageError, match="measured with other samples and options of a report;"):
        Monitor((data[0][1:], data[1][1:]), out, existing="continue", signal_dim=1)
    replaced = Monitor(data, out, existing="replace")
    assert replaced.history == ()
    assert len(read_scan(out)["checkpoints"]) == 2  # until there is something to replace it by
    replaced(model, 0)
    assert len(read_scan(out)["checkpoints"]) == 1


def test_a_scan_is_not_continued(saved: tuple[Path, Path], workers_here: None) -> None:
    model, data = saved
    nrcscan.scan(model.parent, data, model.parent / "scan", patterns=["*.pt"])
    with pytest.raises(UsageError, match="is of nrcscan scan, and no training's"):
        Monitor(data, model.parent / "scan", existing="continue")


def test_a_network_that_diverged_is_an_entry_with_its_reason(
    data: Arrays, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = mlp(5, 16, 2)
    monitor = Monitor(data, tmp_path, every=1)
    assert monitor(model, 0) is not None
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    caplog.clear()
    assert monitor(model, 1) is None
    assert monitor(model, 2) is None
    (told,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert re.fullmatch("epoch 1 could not be measured: .* hold NaN.*", told)
    assert monitor.report is None
    statuses = [(c["epoch"], c["status"]) for c in read_scan(tmp_path)["checkpoints"]]
    assert statuses == [(0, "ok"), (1, "error"), (2, "error")]
    assert monitor.history[2].reason is not None
    assert "hold NaN" in monitor.history[2].reason
    assert flat(monitor.history[2]) == {}
    again = Monitor(data, tmp_path, existing="continue")
    assert again.history == monitor.history
    strict = Monitor(data, None, errors="raise")
    with pytest.raises(InputError, match="hold NaN"):
        strict.measure(model, 0)


def test_whatever_fails_while_measuring_ends_no_training(data: Arrays, tmp_path: Path) -> None:
    class Fragile(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp(5, 8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not self.training:
                raise ZeroDivisionError("only trained on")
            found: torch.Tensor = self.net(x)
            return found

    model = Fragile()
    monitor = Monitor(data, tmp_path / "out")
    assert monitor.measure(model, 0) is None
    assert "only trained on" in str(monitor.history[0].reason)
    assert model.training
    (tmp_path / "out" / "scan.json").unlink()
    (tmp_path / "out").rmdir()  # a disk that is gone
    assert monitor.measure(mlp(5, 8, 2), 1) is not None


# --- the rule, the numbers, and where they go -------------------------------------------------


def test_a_rule_stops_training_once_it_holds(data: Arrays) -> None:
    good = fitted(mlp(5, 16, 16, 2), *data)
    monitor = Monitor(data, None, every=1, stop="model.r2 >= 0.5")
    monitor(mlp(5, 16, 16, 2, seed=3), 0)
    stops = [monitor.should_stop]
    assert monitor(good, 1) is not None
    stops.append(monitor.should_stop)
    assert stops == [False, True]
    assert monitor.stopped_by.startswith("model.r2 = 0.")
    # What is undefined stops nothing, and nor does its contrary.
    for rule in ("layers[-1].error_ratio < 9", "not layers[-1].error_ratio < 9"):
        blind = Monitor(data, None, stop=rule, predictions=False)
        assert blind.measure(good, 0) is not None
        assert not blind.should_stop


@pytest.mark.parametrize("layer", ["layers.6", "layers[3]"])
def test_a_rule_on_a_missing_layer_is_refused(data: Arrays, layer: str) -> None:
    monitor = Monitor(data, None, stop=f"onset.all <= {layer} or model.r2 > 2")
    with pytest.raises(UsageError, match=r"stop onset.all <= .*; name a layer of the network"):
        monitor.measure(mlp(5, 16, 2), 0)


def test_flat_numbers_have_stable_names(data: Arrays, tmp_path: Path) -> None:
    model = fitted(mlp(5, 16, 16, 2), *data)
    logged: list[tuple[Any, int]] = []
    monitor = Monitor(data, tmp_path, log=lambda numbers, epoch: logged.append((numbers, epoch)))
    found = monitor.measure(model, 7)
    assert found is not None
    told = flat(found)
    assert logged == [(told, 7)]
    assert flat(monitor.history[0]) == flat(read_scan(tmp_path)["checkpoints"][0]) == told
    assert told["nrcscan/4/cka"] == found.layers[2].metrics.values["cka"]
    assert told["nrcscan/model/r2"] == found.r2
    assert told["nrcscan/steps"] == 2
    assert all(type(value) is float and np.isfinite(value) for value in told.values())
    assert all(re.fullmatch(r"[\w .:/-]+", name) for name in told)
    for layer in found.layers:
        for quantity in layer.metrics.undefined:
            assert f"nrcscan/{layer.name}/{quantity}" not in told
        for condition, met in layer.met.items():
            name = f"nrcscan/{layer.name}/met/{condition}"
            assert told.get(name) == met, name
    for condition, onset in found.onset.items():
        assert (f"nrcscan/onset/{condition}" in told) == (onset is not None)
    assert "run/model/mse" in flat(found, "run")
    # A name is no folder of others, which MLflow's files could not hold.
    assert not [a for a in told for b in told if b.startswith(f"{a}/")]


@pytest.mark.filterwarnings("default")
def test_tensorboard_is_written(tmp_path: Path) -> None:
    log = tensorboard_log(tmp_path)
    log({"nrcscan/model/r2": 0.5}, 3)
    log.close()
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
        EventAccumulator,
    )

    held = EventAccumulator(str(tmp_path))
    held.Reload()
    (event,) = held.Scalars("nrcscan/model/r2")
    assert (event.step, event.value) == (3, 0.5)


@pytest.mark.parametrize(
    ("absent", "make", "remedy"),
    [
        (
            ["lightning", "lightning.pytorch", "pytorch_lightning"],
            "lightning_callback",
            "lightning",
        ),
        (["transformers"], "trainer_callback", "transformers accelerate"),
        (["torch.utils.tensorboard.writer"], "tensorboard_log", "tensorboard"),
    ],
)
def test_a_missing_extra_is_one_line(
    monkeypatch: pytest.MonkeyPatch, absent: list[str], make: str, remedy: str
) -> None:
    import nrcscan.training

    for name in absent:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=f"needs .*; pip install {remedy}$"):
        getattr(nrcscan.training, make)("data.npz")


def test_the_room_imports_no_library_of_training() -> None:
    code = (
        "import sys, nrcscan.training\n"
        "print(*sorted({'torch', 'lightning', 'pytorch_lightning', 'transformers', 'tensorboard'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == []


# --- several processes ------------------------------------------------------------------------


def test_the_first_process_measures_alone(
    data: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = Monitor(data, tmp_path, every=1)
    model = mlp(5, 16, 2)
    with as_rank_of(1):
        wrapped = nn.parallel.DistributedDataParallel(model)
        assert monitor(wrapped, 0) is not None
        monkeypatch.setattr(distributed, "get_rank", lambda: 1)
        assert monitor(wrapped, 1) is None
    assert [one.epoch for one in monitor.history] == [0]


def test_processes_stop_and_fail_together(data: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted(mlp(5, 16, 16, 2), *data)
    said: list[Any] = []
    first, second = (Monitor(data, None, every=1, stop="model.r2 > 0.5") for _ in range(2))
    missing = Monitor(data, None, every=1, stop="onset.all <= layers.9")
    with as_rank_of(1):
        send = lambda values: said.append(list(values))  # noqa: E731
        monkeypatch.setattr(distributed, "broadcast_object_list", send)
        first(model, 0)
        with pytest.raises(UsageError, match="name a layer"):
            missing(model, 0)

        def receive(values: list[Any]) -> None:
            values[:] = said.pop(0)

        monkeypatch.setattr(distributed, "get_rank", lambda: 1)
        monkeypatch.setattr(distributed, "broadcast_object_list", receive)
        assert second(model, 0) is None
        assert second.should_stop
        with pytest.raises(UsageError, match="name a layer"):
            second(model, 1)


def test_shared_out_weights_and_strangers_are_refused(
    data: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = Monitor(data, None)
    model = mlp(5, 16, 2)
    with as_rank_of(2) as mesh:
        from torch.distributed.tensor import Shard, distribute_tensor

        shard = distribute_tensor(torch.ones(16, 5), mesh, [Shard(0)])
        model[0].register_parameter("weight", nn.Parameter(shard))
        with pytest.raises(UsageError, match="shared out among processes .*nrcscan scan"):
            monitor.measure(model, 0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UsageError, match="do not know of each other yet; call torch.distributed"):
        monitor.measure(mlp(5, 16, 2), 0)


# --- the libraries ----------------------------------------------------------------------------


def lightning_module(pl: Any, data: Arrays) -> Any:
    """Return a small LightningModule, of either package."""

    class Regressor(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp(5, 16, 16, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.net(x)
            return found

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            return nn.functional.mse_loss(self(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=1e-2)

    return Regressor()


@pytest.fixture
def pl(request: pytest.FixtureRequest) -> Any:
    """Lightning by one of its names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it imports deprecates things
        return pytest.importorskip(request.param)


@pytest.mark.parametrize("pl", ["lightning.pytorch", "pytorch_lightning"], indirect=True)
@pytest.mark.filterwarnings("ignore")  # advice on workers and loggers
def test_lightning_measures_logs_and_stops(pl: Any, data: Arrays, tmp_path: Path) -> None:
    logged: list[tuple[Any, Any]] = []

    class Log(pl.loggers.CSVLogger):  # type: ignore[misc]
        def log_metrics(self, metrics: Any, step: Any = None) -> None:
            logged.append((metrics, step))

    def fit(epochs: int, callback: Any) -> Any:
        model = lightning_module(pl, data)
        trainer = pl.Trainer(
            max_epochs=epochs, callbacks=[callback], logger=Log(tmp_path / "log"),
            accelerator="cpu", default_root_dir=tmp_path, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        loader = DataLoader(TensorDataset(*map(torch.tensor, data)), batch_size=100)
        trainer.fit(model, loader)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return model

    callback = lightning_callback(data, tmp_path / "out", every=2)
    assert isinstance(callback, pl.Callback)
    model = fit(4, callback)
    assert [(e.epoch, e.step) for e in callback.monitor.history] == [(0, 4), (2, 12), (3, 16)]
    assert [(m["epoch"], step) for m, step in logged] == [(0, 4), (2, 12), (3, 16)]
    assert logged[-1][0].items() >= flat(callback.monitor.report).items()
    nrcscan.extract(model, callback.monitor.sample, tmp_path / "a.h5")
    assert numbers(callback.monitor.report) == numbers(nrcscan.report(tmp_path / "a.h5"))
    state = torch.load(tmp_path / "last.ckpt", weights_only=False)["state_dict"]
    names = [layer.name for layer in callback.monitor.report.layers]
    assert {f"{name}.weight" for name in names} <= set(state)
    stopping = lightning_callback(data, None, every=1, stop="layers[-1].width > 1")
    fit(4, stopping)
    assert [e.epoch for e in stopping.monitor.history] == [0]


@pytest.mark.filterwarnings("ignore")
def test_the_trainer_of_hugging_face_measures_logs_and_stops(
    data: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}.items():
        monkeypatch.setenv(name, value)
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

    class Config(transformers.PretrainedConfig):  # type: ignore[misc,name-defined]
        model_type = "tiny"

    class Regressor(transformers.PreTrainedModel):  # type: ignore[misc,name-defined]
        config_class = Config

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.net = mlp(5, 16, 16, 2)
            self.post_init()

        def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> Any:
            found = self.net(x)
            if labels is None:
                return {"logits": found}
            return {"loss": nn.functional.mse_loss(found, labels), "logits": found}

    rows = [{"x": x, "labels": y} for x, y in zip(*map(torch.tensor, data), strict=True)]

    class Rows(Dataset[Any]):
        def __len__(self) -> int:
            return len(rows)

        def __getitem__(self, index: int) -> Any:
            return rows[index]

    def train(epochs: int, callback: Any, *, told: bool) -> Any:
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path / "hf"), num_train_epochs=epochs, report_to="none",
            per_device_train_batch_size=100, save_strategy="no", use_cpu=True,
            disable_tqdm=True, logging_strategy="no", learning_rate=1e-2,
        )  # fmt: skip
        trainer = transformers.Trainer(
            model=Regressor(Config()), args=arguments, train_dataset=Rows(), callbacks=[callback]
        )
        if told:
            callback.report_to(trainer)
        trainer.train()
        return trainer

    callback = trainer_callback(Rows(), tmp_path / "out", every=2, samples=300)
    trainer = train(3, callback, told=True)
    monitor = callback.monitor
    assert [(e.epoch, e.step) for e in monitor.history] == [(2, 8), (3, 12)]
    trainer.save_model(tmp_path / "saved")
    nrcscan.extract(trainer.model, monitor.sample, tmp_path / "a.h5")
    assert numbers(monitor.report) == numbers(nrcscan.report(tmp_path / "a.h5"))
    assert trainer.model.training
    logged = [one for one in trainer.state.log_history if "nrcscan/model/r2" in one]
    assert [(one["epoch"], one["step"]) for one in logged] == [(2, 8), (3, 12)]
    assert logged[-1].items() >= flat(monitor.report).items()
    stopping = trainer_callback(Rows(), None, every=1, stop="layers[-1].width > 1")
    trainer = train(3, stopping, told=False)
    assert trainer.state.global_step == 4
    assert trainer.state.log_history[0]["nrcscan/steps"] == 2
