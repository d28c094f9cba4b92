"""A part of a checkpoint by its name, tensors left aside, names that wrappers and ties change."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import tolerances
import torch
from conftest import Run
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import nrcscan
from nrcscan import InputError, UsageError
from nrcscan.inputs.checkpoints import stable_baselines3
from nrcscan.inputs.checkpoints.open_checkpoint import open_checkpoint
from nrcscan.inputs.checkpoints.wrapper_names import WRAPPER_PIECES
from nrcscan.network.build import build
from nrcscan.network.load_weights import load_weights, matched

State = dict[str, Tensor]
WIDTHS = (6, 16, 16, 2)


def net(seed: int = 0) -> nn.Sequential:
    """Return a tanh network."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 2)
    )


def normed(seed: int = 0) -> nn.Sequential:
    """Return a ReLU network with a BatchNorm that has seen data."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
    model.train()(3 * torch.randn(64, 6) + 1)
    return model.eval()


def under(prefix: str, state: Mapping[str, Tensor]) -> State:
    return {f"{prefix}.{name}": tensor for name, tensor in state.items()}


def outputs(state: Mapping[str, Tensor], x: np.ndarray) -> np.ndarray:
    """Return what a tanh network gives, from the weights in their order, in float64."""
    tensors = [tensor.double().numpy() for tensor in state.values()]
    h = x.astype(np.float64)
    for number, (weight, bias) in enumerate(zip(tensors[::2], tensors[1::2], strict=True)):
        h = (np.tanh(h) if number else h) @ weight.T + bias
    return h


def r_squared(state: Mapping[str, Tensor], x: np.ndarray, y: np.ndarray) -> float:
    return float(1 - np.mean((outputs(state, x) - y) ** 2) / np.mean((y - y.mean(0)) ** 2))


X = np.random.default_rng(0).standard_normal((100, 6)).astype(np.float32)
ACTOR, CRITIC = net(0).state_dict(), net(1).state_dict()
Y = (outputs(ACTOR, X) + 0.05 * np.random.default_rng(1).standard_normal((100, 2))).astype("f4")


EXTRA = torch.zeros(1)


def save(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def measured(path: Path, **options: Any) -> tuple[float, tuple[str, ...]]:
    """Return R² and the notes of an extract."""
    if "factory" not in options:
        options["activation"] = "tanh"
    done = nrcscan.extract(path, (X, Y), path.with_name("a.h5"), force=True, **options)
    return nrcscan.report(done.path).model["r2"], done.notes


def same_state(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    """Whether these are the same tensors, in the same order, under these names."""
    return list(found) == list(expected) and all(
        torch.equal(found[name], expected[name]) for name in expected
    )


# --- --state-key: keys, places, prefixes, parts joined ----------------------------------------

NESTED = {
    "epoch": 3,
    "state_dict": {**under("actor", ACTOR), **under("critic", CRITIC), "log_std": torch.zeros(2)},
    "ema": {"decay": 0.9, "ema_model": under("module", CRITIC)},
    "members": [ACTOR, {"net": CRITIC}],
    "optimizer": torch.optim.Adam(net().parameters()).state_dict(),
}


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("state_dict", NESTED["state_dict"]),
        ("ema.ema_model", under("module", CRITIC)),
        ("ema", under("module", CRITIC)),
        ("members.0", ACTOR),
        ("members.1", CRITIC),
        ("members.1.net", CRITIC),
        ("actor", ACTOR),
        ("state_dict.critic", CRITIC),
        ("critic.2", {"weight": CRITIC["2.weight"], "bias": CRITIC["2.bias"]}),
        ("ema.ema_model.4", {"weight": CRITIC["4.weight"], "bias": CRITIC["4.bias"]}),
        ("critic,actor", {**under("critic", CRITIC), **under("actor", ACTOR)}),
        ("actor, log_std", {**under("actor", ACTOR), "log_std": torch.zeros(2)}),
        ("members.0,members.1.net", {**under("0", ACTOR), **under("1.net", CRITIC)}),
    ],
)
def test_what_a_state_key_names(tmp_path: Path, key: str, expected: State) -> None:
    found = open_checkpoint(save(tmp_path / "m.pt", NESTED), state_key=key)
    assert same_state(found.state, expected)
    assert found.state_key == key


def test_a_part_is_measured_as_what_it_is(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt", NESTED)
    for key, state in (("actor", ACTOR), ("state_dict.critic", CRITIC), ("members.1.net", CRITIC)):
        r2, _ = measured(path, state_key=key)
        assert r2 == pytest.approx(r_squared(state, X, Y), rel=tolerances.SHALLOW)
    assert (
        "--state-key actor: took 6 of the 13 tensors of state_dict"
        in measured(path, state_key="actor")[1]
    )


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("acto", r"no state dict is called 'acto', and no tensor's name begins so; choose"
                 r" --state-key from 'state_dict.actor'"),
        ("members.2", r"choose --state-key from 'members\.[01]"),
        ("log_std", "--state-key log_std is a single tensor, and no network; choose from"),
        ("state_dict.log_std", "is a single tensor"),
        ("members", "could be meant; choose with --state-key members.0 or --state-key members.1.n"),
        ("optimizer", "no state dict is called 'optimizer'"),
        ("actor,actor.0", r"names actor.0.weight twice; name each part once"),
        ("actor,nothing", "no state dict is called 'nothing'"),
        ("", "no state dict is called ''"),
    ],
)  # fmt: skip
def test_what_a_state_key_does_not_name(tmp_path: Path, key: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_checkpoint(save(tmp_path / "m.pt", NESTED), state_key=key)


def test_names_in_several_state_dicts_need_the_whole_path(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt", {"a": under("pi", ACTOR), "b": under("pi", CRITIC)})
    message = "'pi' is in several state dicts; choose with --state-key a.pi or --state-key b.pi"
    with pytest.raises(UsageError, match=message):
        open_checkpoint(path, state_key="pi")
    assert same_state(open_checkpoint(path, state_key="b.pi").state, CRITIC)


def test_a_key_comes_before_names_that_begin_so_and_that_is_said(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt", {"pi": ACTOR, "model": under("pi", CRITIC)})
    found = open_checkpoint(path, state_key="pi")
    assert same_state(found.state, ACTOR)
    (note,) = found.choice
    assert note == "--state-key pi: took the state dict pi, not names that begin so, model.pi"
    assert same_state(open_checkpoint(path, state_key="model.pi").state, CRITIC)


def test_one_path_to_two_things_is_refused(tmp_path: Path) -> None:
    content = {**under("a.b", ACTOR), "a": under("b", CRITIC)}
    with pytest.raises(UsageError, match="'a.b' could be meant in the top level and 'a'"):
        open_checkpoint(save(tmp_path / "m.pt", content), state_key="a.b")


def test_names_are_found_as_they_are_shown(tmp_path: Path) -> None:
    wrapped = under("model._orig_mod", {**under("pi.module", ACTOR), **under("v", CRITIC)})
    path = save(tmp_path / "m.pt", {"state_dict": wrapped})
    shown = [tensor.name for tensor in nrcscan.inspect(path).tensors]
    assert "pi.0.weight" in shown
    for key, expected in (("pi", under("module", ACTOR)), ("v", CRITIC)):
        assert same_state(open_checkpoint(path, state_key=key).state, expected)


def test_state_dicts_in_a_tuple_are_found_and_a_pair_of_tensors_is_data(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt", (ACTOR, CRITIC))
    assert same_state(open_checkpoint(path, state_key="1").state, CRITIC)
    with pytest.raises(InputError, match="holds a tuple, not a state dict"):
        open_checkpoint(save(tmp_path / "d.pt", (torch.from_numpy(X), torch.from_numpy(Y))))


def test_a_part_of_a_network_in_the_file_runs_as_itself(tmp_path: Path) -> None:
    whole = nn.ModuleDict({"actor": net(0), "critic": nn.ModuleList(net(1))})
    r2, _ = measured(save(tmp_path / "m.pt", whole), state_key="actor")
    assert r2 == pytest.approx(r_squared(ACTOR, X, Y), rel=tolerances.SHALLOW)
    with pytest.raises(UsageError, match="the network in the file runs with all its tensors; leav"):
        measured(tmp_path / "m.pt", state_key="actor", ignore="0.bias")
    r2, notes = measured(tmp_path / "m.pt", state_key="critic")  # a list of layers does not run
    assert r2 == pytest.approx(r_squared(CRITIC, X, Y), rel=tolerances.SHALLOW)
    assert any("inferred from the weights" in note for note in notes)


# --- which is taken where none is named -------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "taken", "note"),
    [
        (
            {"state_dict": ACTOR, "ema_state_dict": CRITIC},
            "state_dict",
            "took state_dict; ema_state_dict is there too: --state-key ema_state_dict",
        ),
        (
            {"ema": {"model": CRITIC}, "model": ACTOR},
            "model",
            "took model; ema.model is there too: --state-key ema.model",
        ),
        (
            {"params": ACTOR, "params_ema": CRITIC, "scale": {"mean": torch.zeros(6)}},
            "params",
            "took params; params_ema is there too: --state-key params_ema",
        ),
        (
            {"net": ACTOR, "target": CRITIC, "ema": {"shadow_params": list(CRITIC.values())}},
            "net",
            "took net; target and ema.shadow_params, a list of tensors, are there too:"
            " --state-key target or --state-key ema.shadow_params",
        ),
        ({**ACTOR, "critic": CRITIC}, "", "took the tensors at the top level; critic is there too:"
         " --state-key critic"),
        ({"step": torch.tensor(3), "policy": ACTOR}, "policy", None),
        ({"ema_state_dict": ACTOR, "optimizer": NESTED["optimizer"]}, "ema_state_dict", None),
        ([ACTOR], "0", None),
    ],
)  # fmt: skip
def test_what_is_taken_unasked_is_said(
    tmp_path: Path, content: Any, taken: str, note: str | None
) -> None:
    path = save(tmp_path / "m.pt", content)
    found = open_checkpoint(path)
    assert found.state_key == taken
    assert same_state(found.state, ACTOR)
    assert found.choice == (() if note is None else (note,))
    r2, notes = measured(path)
    assert r2 == pytest.approx(r_squared(ACTOR, X, Y), rel=tolerances.SHALLOW)
    assert note is None or note in notes
    assert nrcscan.inspect(path).notes == found.choice


def test_a_scan_says_what_it_took_from_each_checkpoint(tmp_path: Path) -> None:
    # The second and third are put into the network of the first.
    extra = [{}, {"ema_model": CRITIC}, {}]
    runs = [{"model": ACTOR, **more} for more in extra]
    architecture, notes = None, []
    for number, content in enumerate(runs):
        found = open_checkpoint(save(tmp_path / f"{number}.pt", content))
        architecture = architecture or build(found, activation="tanh")
        notes.append(load_weights(architecture.module, found))
    taken = "took model; ema_model is there too: --state-key ema_model"
    assert notes == [(), (taken,), ()]


# --- lists of tensors ------------------------------------------------------------------------


def average(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize("factory", [None, normed])
def test_a_list_in_the_order_of_the_parameters(
    tmp_path: Path, factory: Callable[[], nn.Module] | None
) -> None:
    model, averaged = normed(0), normed(1)
    content = {"model": model.state_dict(), "ema": {"shadow_params": average(averaged)}}
    path = save(tmp_path / "m.pt", content)
    found = build(open_checkpoint(path, state_key="ema.shadow_params"), factory=factory)
    averaged.load_state_dict(
        {name: one for name, one in model.state_dict().items() if "running" in name}, strict=False
    )
    x = torch.randn(9, 6)
    torch.testing.assert_close(found.module.eval()(x), averaged(x), rtol=0, atol=0)
    told = " ".join(found.weight_notes)
    assert "lacks 1.running_mean and 1.running_var: taken from model" in told


class Renamed(nn.Module):
    """The network of `normed`, under other names."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(6, 16), nn.BatchNorm1d(16)
        self.last = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.first(x)).relu())


def test_other_names_take_a_list_but_no_buffers(tmp_path: Path) -> None:
    model = normed(0)
    content = {"model": model.state_dict(), "ema": {"shadow_params": average(model)}}
    path = save(tmp_path / "m.pt", content)
    with pytest.raises(InputError, match="missing norm.running_mean and norm.running_var; check"):
        build(open_checkpoint(path, state_key="ema"), factory=Renamed)
    flat = save(tmp_path / "flat.pt", {"model": ACTOR, "shadow_params": average(net(1))})
    r2, notes = measured(flat, state_key="shadow_params", factory=Agent)
    assert r2 == pytest.approx(r_squared(CRITIC, X, Y), rel=tolerances.SHALLOW)
    assert "shadow_params has no names: its tensors went to the network's" in notes[0]


def test_a_list_alone_needs_a_factory(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt", {"decay": 0.9, "shadow_params": average(net(0))})
    with pytest.raises(InputError, match="shadow_params is a list of tensors without names; name"):
        build(open_checkpoint(path))
    r2, notes = measured(path, factory=net)
    assert r2 == pytest.approx(r_squared(ACTOR, X, Y), rel=tolerances.SHALLOW)
    assert notes[0] == (
        "shadow_params has no names: its tensors went to the network's parameters in order"
    )
    bare = save(tmp_path / "l.pt", average(net(0)))
    assert measured(bare, factory=net)[0] == r2


def frozen() -> nn.Module:
    model = net(0)
    model[0].requires_grad_(False)
    return model


def tying() -> nn.Module:
    model = net(0)
    model.append(nn.Linear(2, 2))
    model.append(model[-1])
    return model


@pytest.mark.parametrize(
    ("tensors", "factory", "message"),
    [
        (average(net(0))[:-1], net, "is a list of 5 tensors and the network has 6 parameters"),
        (average(net(0))[2:], frozen, "does not fit the network: missing 0.weight and 0.bias"),
        (average(normed(0)), normed, "missing 1.running_mean and 1.running_var; check"),
        ([*average(net(0))[:-1], torch.zeros(3)], net, r"4.bias has shape \(3,\) where the netwo"),
        (average(tying())[:-1], tying, "is a list of 7 tensors and the network has 8 parameters"),
    ],
)  # fmt: skip
def test_a_list_that_does_not_fit(
    tmp_path: Path, tensors: list[Tensor], factory: Callable[[], nn.Module], message: str
) -> None:
    path = save(tmp_path / "m.pt", {"shadow_params": tensors})
    with pytest.raises(InputError, match=message):
        build(open_checkpoint(path), factory=factory)


def test_a_list_of_the_trained_parameters(tmp_path: Path) -> None:
    content = {"model": CRITIC, "shadow_params": average(net(0))[2:]}
    found = build(
        open_checkpoint(save(tmp_path / "m.pt", content), state_key="shadow_params"), factory=frozen
    )
    assert same_state(
        found.module.state_dict(),
        {name: (CRITIC if name[0] == "0" else ACTOR)[name] for name in ACTOR},
    )
    assert "lacks 0.weight and 0.bias: taken from model" in found.weight_notes[-1]


def test_tied_parameters_are_one_of_a_list(tmp_path: Path) -> None:
    model = tying()
    found = build(
        open_checkpoint(save(tmp_path / "m.pt", {"shadow_params": average(model)})), factory=tying
    )
    x = torch.randn(4, 6)
    torch.testing.assert_close(found.module(x), model(x), rtol=0, atol=0)


# --- --ignore --------------------------------------------------------------------------------

POLICY = {
    "log_std": torch.zeros(2),
    **under("mlp_extractor.policy_net", {k: v for k, v in ACTOR.items() if k[0] != "4"}),
    **under("mlp_extractor.value_net", {k: v for k, v in CRITIC.items() if k[0] != "4"}),
    "action_net.weight": ACTOR["4.weight"],
    "action_net.bias": ACTOR["4.bias"],
    "value_net.weight": CRITIC["4.weight"][:1],
    "value_net.bias": CRITIC["4.bias"][:1],
}
PARTS = "mlp_extractor.policy_net,action_net"
RIGHT = r_squared(ACTOR, X, Y)


class Agent(nn.Module):
    """The actor alone, under its own names in the policy."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp_extractor = nn.ModuleDict({"policy_net": net()[:4]})
        self.action_net = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.action_net(self.mlp_extractor["policy_net"](x))


@pytest.mark.parametrize("factory", [None, Agent])
@pytest.mark.parametrize(
    "globs",
    [["log_std", "*value_net*"], "log_std,value_net,mlp_extractor.value_net", ["log*,*v*t"]],
)
def test_extra_tensors_are_left_aside_and_listed(
    tmp_path: Path, globs: Any, factory: type[nn.Module] | None
) -> None:
    options = {} if factory is None else {"factory": factory}
    r2, notes = measured(save(tmp_path / "m.pt", POLICY), ignore=globs, **options)
    assert r2 == pytest.approx(RIGHT, rel=tolerances.SHALLOW)
    (note,) = [note for note in notes if "--ignore" in note]
    extra = [name for name in POLICY if "value" in name or name == "log_std"]
    assert note.endswith(": 7 tensors")
    assert all(name in note for name in extra)


def test_ignoring_speaks_of_names_as_they_are_shown_and_as_they_are(tmp_path: Path) -> None:
    wrapped = under("module", {**ACTOR, "extra.module.weight": torch.zeros(3)})
    path = save(tmp_path / "m.pt", {"model": under("pi", wrapped)})
    for glob in ("extra", "extra.weight", "pi.module.extra.*", "module.extra"):
        found = open_checkpoint(path, state_key="pi", ignore=[glob])
        assert same_state(found.state, under("module", ACTOR)), glob


@pytest.mark.parametrize(
    ("globs", "message"),
    [
        (["log_sdt"], "--ignore 'log_sdt' matches no tensor; choose among log_std, "),
        (
            ["log_std", "critic.*"],
            r"--ignore 'critic\.\*' matches no tensor; choose among .* and 5 m",
        ),
        (["*"], "--ignore leaves no tensor; name the extra ones alone"),
        ([""], "--ignore '' matches no tensor"),
    ],
)
def test_globs_that_leave_nothing_aside(tmp_path: Path, globs: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_checkpoint(save(tmp_path / "m.pt", POLICY), ignore=globs)


def test_the_error_names_the_globs_that_help(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt", POLICY)
    globs = ["log_std", "mlp_extractor.value_net.*", "value_net.*"]
    flags = " ".join(f"--ignore '{glob}'" for glob in globs)
    with pytest.raises(InputError, match="unexpected log_std, ") as caught:
        build(open_checkpoint(path), factory=Agent)
    assert str(caught.value).endswith(
        f"; leave them aside with {flags}, or check --model and --model-args"
    )
    build(open_checkpoint(path, ignore=globs), factory=Agent)


def test_the_error_names_the_part_that_fits(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt", {"state_dict": {**under("pi", ACTOR), **under("v", POLICY)}})
    with pytest.raises(
        InputError, match="; take the part that fits, with --state-key state_dict.p"
    ):
        build(open_checkpoint(path), factory=net)
    build(open_checkpoint(path, state_key="state_dict.pi"), factory=net)
    path = save(tmp_path / "m.pt", {**under("pi", ACTOR), **under("old", CRITIC)})
    with pytest.raises(InputError, match="parts that fit, with --state-key pi or --state-key old"):
        build(open_checkpoint(path), factory=net)


def test_a_network_in_memory_has_nothing_to_ignore(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no tensors to ignore; leave ignore out"):
        nrcscan.extract(net(), (X, Y), tmp_path / "a.h5", ignore="x")


# --- wrappers --------------------------------------------------------------------------------

PIECES = st.lists(st.sampled_from(sorted(WRAPPER_PIECES)), max_size=2)


@given(st.data())
def test_wrappers_come_off_wherever_they_are(data: st.DataObject) -> None:
    names = [name for name in POLICY if "value" not in name]
    wrapped = {}
    for name in names:
        *modules, leaf = name.split(".")
        pieces = [piece for module in modules for piece in (*data.draw(PIECES), module)]
        wrapped[".".join([*pieces, *data.draw(PIECES), leaf])] = name
    assert {name: wrapped[held] for name, held in matched(wrapped, names).items()} == dict(
        zip(names, names, strict=True)
    )


def test_compiled_and_sharded_parts(tmp_path: Path) -> None:
    wrapped = {}
    for name, tensor in Agent().state_dict().items():
        piece = "_orig_mod" if name.startswith("mlp") else "_fsdp_wrapped_module"
        wrapped[name.replace("net.", f"net.{piece}.", 1)] = tensor
    path = save(tmp_path / "m.pt", wrapped)
    for factory in (None, Agent):
        found = build(open_checkpoint(path), factory=factory, activation="tanh").module
        expected = [tensor for _, tensor in wrapped.items()]
        assert all(map(torch.equal, found.state_dict().values(), expected))


class Inner(nn.Module):
    """A network with a part that is called as a wrapper calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.module, self.weight = net(), nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x) + self.weight


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module.", "model."])
def test_a_part_that_is_called_module_keeps_its_name(tmp_path: Path, prefix: str) -> None:
    model = Inner()
    state = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    found = build(open_checkpoint(save(tmp_path / "m.pt", state)), factory=Inner).module
    assert same_state(found.state_dict(), model.state_dict())


def test_names_that_wrappers_alone_tell_apart_are_no_match(tmp_path: Path) -> None:
    content = {**under("module", ACTOR), **under("_orig_mod", CRITIC)}
    path = save(tmp_path / "m.pt", content)
    with pytest.raises(InputError, match=r"missing 0.weight.*unexpected module.0.weight") as caught:
        build(open_checkpoint(path), factory=net)
    assert "--state-key module or --state-key _orig_mod" in str(caught.value)
    assert same_state(open_checkpoint(path, state_key="_orig_mod").state, CRITIC)


# --- ties ------------------------------------------------------------------------------------


class Tied(nn.Module):
    """Two layers that share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.a, self.b = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.b.weight = self.a.weight
        self.out = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.inp, self.a, self.b):
            x = torch.tanh(layer(x))
        return self.out(x)


def untied() -> nn.Module:
    model = Tied()
    model.b = nn.Linear(16, 16)
    return model


@pytest.mark.parametrize("factory", [Tied, untied])
@pytest.mark.parametrize("sharded", [False, True])
def test_ties_in_the_metadata_of_safetensors(
    tmp_path: Path, factory: Callable[[], nn.Module], sharded: bool
) -> None:
    model = Tied()
    path = tmp_path / "m.safetensors"
    safetensors.torch.save_model(model, str(path))
    if sharded:  # the tie is noted in one shard, the weight is in the other
        state = safetensors.torch.load_file(path)
        weight = {"a.weight": state.pop("a.weight")}
        safetensors.torch.save_file(state, path, {"b.weight": "a.weight", "format": "pt"})
        safetensors.torch.save_file(weight, tmp_path / "2.safetensors")
        places = dict.fromkeys([*state, "b.weight"], path.name) | {"a.weight": "2.safetensors"}
        path = tmp_path / "m.safetensors.index.json"
        path.write_text(json.dumps({"weight_map": places}))
    y = outputs(model.state_dict(), X) + 0.05
    done = nrcscan.extract(path, (X, y), tmp_path / "a.h5", factory=factory)
    assert nrcscan.report(done.path).model["r2"] == pytest.approx(
        r_squared(model.state_dict(), X, y), rel=tolerances.SHALLOW
    )
    assert "tied, by the file's metadata: b.weight is a.weight" in done.notes


def test_ties_complete_a_chain_without_a_factory(tmp_path: Path) -> None:
    layers = [nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)]
    layers[1].weight = layers[0].weight
    model = nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])
    safetensors.torch.save_model(model, str(tmp_path / "m.safetensors"))
    r2, _ = measured(tmp_path / "m.safetensors")
    assert r2 == pytest.approx(r_squared(model.state_dict(), X, Y), rel=tolerances.SHALLOW)


def tied_file(path: Path, metadata: dict[str, str]) -> Path:
    state = {name: one.clone() for name, one in Tied().state_dict().items() if name != "b.weight"}
    safetensors.torch.save_file(state, path / "m.safetensors", metadata)
    return path / "m.safetensors"


def test_a_chain_of_ties_and_metadata_that_is_none(tmp_path: Path) -> None:
    about = {"format": "pt", "best": "a.weight", "a.bias": "b.bias", "by": "x.weight"}
    path = tied_file(tmp_path, {"b.weight": "c.weight", "c.weight": "a.weight", **about})
    found = build(open_checkpoint(path), factory=Tied).module.state_dict()
    state = safetensors.torch.load_file(path)
    assert torch.equal(found["b.weight"], state["a.weight"])
    assert torch.equal(found["a.bias"], state["a.bias"])  # the file has its own


def test_second_names_do_not_hide_a_wrapper(tmp_path: Path) -> None:
    state = {f"model.{name}": one.clone() for name, one in Tied().state_dict().items()}
    del state["model.b.weight"]
    ties = {"model.b.weight": "model.a.weight", "best": "model.a.weight"}
    safetensors.torch.save_file(state, tmp_path / "m.safetensors", ties)
    found = build(open_checkpoint(tmp_path / "m.safetensors"), factory=untied).module.state_dict()
    assert torch.equal(found["b.weight"], state["model.a.weight"])


@pytest.mark.parametrize(
    "metadata", [{"b.weight": "gone.weight"}, {"b.weight": "c.weight", "c.weight": "b.weight"}]
)
def test_ties_to_what_is_not_there(tmp_path: Path, metadata: dict[str, str]) -> None:
    message = r"metadata says that '[bc].weight' is '\w+.weight', which is not there; save it again"
    with pytest.raises(InputError, match=message):
        open_checkpoint(tied_file(tmp_path, metadata))


def test_a_tie_of_the_network_is_complete_once_one_name_is_there(tmp_path: Path) -> None:
    model = Tied()
    for gone in ("a.weight", "b.weight"):
        state = {name: tensor for name, tensor in model.state_dict().items() if name != gone}
        path = save(tmp_path / "m.pt", state)
        found = build(open_checkpoint(path), factory=Tied).module
        assert same_state(found.state_dict(), model.state_dict())
        with pytest.raises(InputError, match=f"missing {gone}"):
            build(open_checkpoint(path), factory=untied)


def test_weights_that_differ_are_not_tied(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt", untied().state_dict())
    with pytest.raises(InputError, match="a.weight and b.weight differ in the file, and the netw"):
        build(open_checkpoint(path), factory=Tied)


# --- archives of Stable-Baselines3 -----------------------------------------------------------


class Bomb:
    """Writes a marker file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.marker}'",)


def packed(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def archive(path: Path, policy: Any, marker: Path | None = None, **more: bytes) -> Path:
    """Write what `PPO.save` does; all but the policy would write a marker if it were unpickled."""
    trap = packed(Bomb(marker or path))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("data", json.dumps({"policy_class": {":serialized:": "gAWVLgAAAAAA"}}))
        file.writestr("pytorch_variables.pth", trap)
        file.writestr("policy.pth", policy if isinstance(policy, bytes) else packed(policy))
        file.writestr("policy.optimizer.pth", trap)
        file.writestr("_stable_baselines3_version", "2.3.0\n")
        for name, content in more.items():
            file.writestr(name, content)
    return path


@pytest.mark.usefixtures("workers_here")
def test_an_archive_of_stable_baselines3(tmp_path: Path, cli: Run) -> None:
    path = archive(tmp_path / "ppo.zip", POLICY, tmp_path / "marker")
    np.savez(tmp_path / "data.npz", X=X, y=Y)
    r2, _ = measured(path, state_key=PARTS)
    assert r2 == pytest.approx(RIGHT, rel=tolerances.SHALLOW)
    assert measured(path, factory=Agent, state_key=PARTS)[0] == r2
    shown = cli("inspect", path).stdout
    assert "Stable-Baselines3 archive" in shown
    assert "policy.pth: 13 tensors, policy.optimizer.pth: not opened" in shown
    assert "_stable_baselines3_version: '2.3.0'" in shown
    done = cli("extract", path, "data.npz")
    assert done.returncode == 3
    assert f"choose it with --state-key {PARTS}, or name the network's" in done.stderr
    assert not (tmp_path / "marker").exists()
    (row,) = nrcscan.scan(
        tmp_path, (X, Y), tmp_path / "out", state_key=PARTS, activation="tanh"
    ).checkpoints
    assert (row.path, row.reason) == ("ppo.zip", None)
    assert row.result is not None
    assert row.result["model"]["r2"] == r2


@pytest.mark.parametrize(
    ("policy", "key"),
    [
        (POLICY, PARTS),
        ({k: v for k, v in POLICY.items() if "extractor" not in k}, "action_net"),
        (
            {**under("actor.latent_pi", ACTOR), **under("actor.mu", ACTOR), "critic.q": EXTRA},
            "actor.latent_pi,actor.mu",
        ),
        ({**under("actor.mu", ACTOR), **under("critic.qf0", ACTOR)}, "actor.mu"),
        ({**under("q_net.q_net", ACTOR), **under("q_net_target.q_net", ACTOR)}, "q_net.q_net"),
    ],
)  # fmt: skip
def test_the_actor_is_named(tmp_path: Path, policy: State, key: str) -> None:
    for path in (archive(tmp_path / "a.zip", policy), save(tmp_path / "policy.pth", policy)):
        with pytest.raises(InputError, match=f"choose it with --state-key {key}, or name"):
            build(open_checkpoint(path))
        found = open_checkpoint(path, state_key=key)
        assert found.state
        assert ("puts a tanh after this actor's output" in str(found.choice)) == ("mu" in key)


def test_policies_with_more_before_the_actor_are_not_split(tmp_path: Path) -> None:
    policy = POLICY | {"features_extractor.linear.0.weight": torch.zeros(6, 9)}
    with pytest.raises(InputError) as caught:
        build(open_checkpoint(archive(tmp_path / "a.zip", policy)))
    assert PARTS not in str(caught.value)


def test_archives_that_are_hostile_or_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "marker"
    path = archive(tmp_path / "a.zip", {"w": torch.zeros(2, 2), "x": Bomb(marker)})
    found = open_checkpoint(path, trust=True)
    assert list(found.state) == ["w"]
    assert found.notes == ("left out, not built: posix.system (x)",)
    assert not marker.exists()
    for policy, message in (
        (b"", "a.zip: its policy.pth: the checkpoint is damaged or cut short"),
        (b"no weights", "a.zip: its policy.pth: the checkpoint is damaged or cut short"),
        (None, "a.zip: its policy.pth: holds a NoneType, not a state dict"),
        ({"weight": torch.zeros(1).expand(2**40)}, "a.zip: its policy.pth: 'weight' claims"),
    ):
        with pytest.raises(InputError, match=message):
            open_checkpoint(archive(path, packed(policy) if policy is None else policy))
    monkeypatch.setattr(stable_baselines3, "POLICY_LIMIT", 1000)
    with pytest.raises(
        InputError, match="takes .* bytes unpacked, and at most 1,000 are read; unp"
    ):
        open_checkpoint(archive(path, POLICY))


def test_an_archive_packed_again_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "again.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("ppo/data", "{}")
        file.writestr("ppo/policy.pth", packed(POLICY))
    assert same_state(open_checkpoint(path).state, POLICY)
