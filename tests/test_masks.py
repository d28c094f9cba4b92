"""Padding never counts: masks of every name, length and layer, or a layer left out and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nrcscan import InputError, UsageError, extract

pytestmark = pytest.mark.numerical

N, STEPS, WIDTH = 40, 6, 4
RNG = np.random.default_rng(5)
X = RNG.standard_normal((N, STEPS, WIDTH)).astype(np.float32)
Y = RNG.standard_normal((N, 2))
LENGTHS = RNG.integers(1, STEPS + 1, N)
LENGTHS[:3] = STEPS, 2, STEPS
KEEP = np.arange(STEPS) < LENGTHS[:, None]


def mean(features: NDArray[Any], keep: NDArray[Any] = KEEP) -> NDArray[Any]:
    """Return the mean over the positions that count of features (N, positions, width)."""
    weights = keep[..., None].astype(np.float64)
    return np.asarray((features * weights).sum(axis=1) / weights.sum(axis=1))


def measured(path: Path, model: nn.Module, x: Any, **options: Any) -> tuple[Any, Any]:
    """Return the features of each layer, and the notes."""
    torch.manual_seed(0)
    done = extract(model.eval(), (x, Y), path / "a.h5", force=True, **options)
    with h5py.File(path / "a.h5") as file:
        found = {
            group.attrs["name"].decode(): file[f"positions/{group.attrs['position']:04d}"][
                "activations"
            ][()]
            for group in file["layers"].values()
        }
    return found, done.notes


class Masked(nn.Module):
    """One layer over all positions, laid out in some way, then the mean of those that count."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        self.layer = {
            "conv": lambda: nn.Conv1d(WIDTH, 5, 3, padding=1),
            "transposed": lambda: nn.ConvTranspose1d(WIDTH, 5, 1),
            "LSTM": lambda: nn.LSTM(WIDTH, 5, batch_first=True),
        }.get(kind, lambda: nn.Linear(WIDTH, 5))()
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        n = len(x)
        if self.kind in ("conv", "transposed"):
            h = self.layer(x.transpose(1, 2)).transpose(1, 2)
        elif self.kind == "time first":
            h = self.layer(x.transpose(0, 1)).transpose(0, 1)
        elif self.kind == "flat":
            h = self.layer(x.reshape(-1, WIDTH)).reshape(n, -1, 5)
        else:
            h = self.layer(x)
            h = h[0] if isinstance(h, tuple) else h
        weights = attention_mask[..., None].to(h.dtype)
        return self.head((h.relu() * weights).sum(1) / weights.sum(1))


KINDS = ["conv", "transposed", "linear", "time first", "flat", "LSTM"]


@pytest.mark.parametrize(
    ("kind", "pool"),
    [*((kind, "mean") for kind in KINDS), *(("conv", p) for p in ("first", "last", "tokens"))],
)
def test_padding_counts_before_no_kind_of_layer(tmp_path: Path, kind: str, pool: Any) -> None:
    left = KEEP[:, ::-1]  # padded on the left, so that the first position is padding
    for keep in (KEEP, left):
        x = {"x": X, "attention_mask": keep.astype(np.int64)}
        found, notes = measured(tmp_path, Masked(kind), x, pool=pool, batch_size=7)
        first, last = keep.argmax(axis=1), STEPS - 1 - keep[:, ::-1].argmax(axis=1)
        expected = {
            "mean": mean(X, keep),
            "first": X[np.arange(N), first],
            "last": X[np.arange(N), last],
            "tokens": X[keep],
        }[pool]
        np.testing.assert_allclose(next(iter(found.values())), expected, atol=1e-6)
        assert notes == ()


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 2)

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> Tensor:
        weights = pixel_mask[:, None].to(pixel_values.dtype)
        h = self.conv(pixel_values) * weights
        return self.head(h.sum((2, 3)) / weights.sum((2, 3)))


def test_pixels_and_frames_that_are_padding(tmp_path: Path) -> None:
    images = RNG.standard_normal((N, 3, 5, STEPS)).astype(np.float32)
    mask = np.zeros((N, 5, STEPS), np.int64)
    for one, width in zip(mask, LENGTHS, strict=True):
        one[:4, :width] = 1
    found, _ = measured(tmp_path, Images(), {"pixel_values": images, "pixel_mask": mask})
    expected = mean(images.reshape(N, 3, -1).transpose(0, 2, 1), mask.reshape(N, -1))
    np.testing.assert_allclose(found["conv"], expected, atol=1e-6)

    class Frames(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(2, 4, 1), nn.Linear(4, 2)

        def forward(self, video: Tensor, attention_mask: Tensor) -> Tensor:
            h = self.conv(video.flatten(0, 1)).mean((2, 3)).unflatten(0, (len(video), -1))
            weights = attention_mask[..., None].to(h.dtype)
            return self.head((h * weights).sum(1) / weights.sum(1))

    video = RNG.standard_normal((N, STEPS, 2, 3, 3)).astype(np.float32)
    found, _ = measured(tmp_path, Frames(), {"video": video, "attention_mask": KEEP})
    np.testing.assert_allclose(found["conv"], mean(video.mean(axis=(3, 4))), atol=1e-6)


class Named(Masked):
    """The same with a mask of another name, which may be 1 for padding, or lengths."""

    def __init__(self, name: str, says: str) -> None:
        super().__init__("linear")
        self.name, self.says = name, says

    def forward(self, x: Tensor, **inputs: Tensor) -> Tensor:  # type: ignore[override]
        given = inputs[self.name]
        if self.says.startswith("lengths"):
            return super().forward(x, torch.arange(x.shape[1]) < given.reshape(-1, 1))
        return super().forward(x, given == (0 if self.says == "padding" else 1))


@pytest.mark.parametrize(
    ("name", "says", "noted"),
    [
        ("decoder_attention_mask", "counts", ""),
        ("key_padding_mask", "padding", ""),
        ("src_key_padding_mask", "padding", ""),
        ("lengths", "lengths", ""),
        ("seq_lens", "lengths", ""),
        ("length", "lengths as floats", ""),
        ("real", "counts", "real is taken for a mask where 1 counts: the predictions do not depen"),
        (
            "fill",
            "padding",
            "fill is taken for a mask where 1 is padding: the predictions do not d",
        ),
        ("padding_mask", "padding", "padding_mask is taken for a mask where 1 is padding: the pre"),
        ("padding_mask", "counts", "padding_mask is taken for a mask where 1 counts: the predict"),
        ("mask", "padding", "mask is taken for a mask where 1 is padding: the predictions do not"),
        ("mask", "counts", "mask is taken for a mask where 1 counts: the predictions do not depe"),
    ],
)
def test_a_mask_by_another_name(tmp_path: Path, name: str, says: str, noted: str) -> None:
    dtype = np.float32 if name == "mask" else np.int64 if says == "counts" else bool
    flags = (KEEP if says == "counts" else ~KEEP).astype(dtype)
    kinds = {"lengths": LENGTHS, "lengths as floats": LENGTHS.astype(np.float64)[:, None]}
    found, notes = measured(
        tmp_path, Named(name, says), {"x": X, name: kinds.get(says, flags)}, batch_size=9
    )
    np.testing.assert_allclose(found["layer"], mean(X), atol=1e-6)
    assert [note[: len(noted)] for note in notes] == ([noted] if noted else [])


class Everything(Masked):
    """Its predictions depend on padding too, so that they do not tell what is padding."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return super().forward(x, torch.ones_like(mask))


def test_what_a_mask_says_is_asked_where_it_cannot_be_told(tmp_path: Path) -> None:
    inputs = {"x": X, "mask": ~KEEP}
    message = r"the inputs mask may be a mask, .* told; use --mask mask if it counts, --mask '~ma"
    with pytest.raises(InputError, match=message):
        measured(tmp_path, Everything("linear"), inputs)
    for asked, expected in (("~mask", mean(X)), ("mask", None), ("none", X.mean(axis=1))):
        given = inputs if asked != "mask" else {"x": X, "mask": KEEP}
        found, notes = measured(tmp_path, Everything("linear"), given, mask=asked)
        wanted = mean(X) if expected is None else expected
        np.testing.assert_allclose(found["layer"], wanted, atol=1e-6)
        assert notes == ()
    with pytest.raises(
        UsageError, match="--mask m: no input is called m; choose one of x and mask"
    ):
        measured(tmp_path, Everything("linear"), inputs, mask="m")
    with pytest.raises(UsageError, match="--mask m: no input is called m; leave --mask out"):
        measured(tmp_path, nn.Linear(WIDTH, 2), X[:, 0], mask="m")


def test_a_mask_that_is_passed_by_place(tmp_path: Path) -> None:
    found, _ = measured(tmp_path, Masked("linear"), (X, KEEP.astype(np.int64)))
    np.testing.assert_allclose(found["layer"], mean(X), atol=1e-6)


def test_a_mask_of_other_values(tmp_path: Path) -> None:
    additive = np.where(KEEP, 0, -1e9).astype(np.float32)
    inputs = {"x": X, "attention_mask": additive}
    with pytest.raises(InputError, match="attention_mask hold other values than 0 and 1, .* none"):
        measured(tmp_path, Masked("linear"), inputs)


class Encoder(nn.Module):
    """A transformer with positions of its own before or behind those of the inputs."""

    def __init__(self, front: int = 1, back: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.own = nn.Parameter(torch.randn(front + back, 8))
        self.front, self.back = front, back
        self.embed = nn.Linear(WIDTH, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        n = len(x)
        own = self.own.expand(n, -1, -1)
        h = torch.cat([own[:, : self.front], self.embed(x), own[:, self.front :]], 1)
        padding = attention_mask == 0
        parts = (padding.new_zeros(n, self.front), padding, padding.new_zeros(n, self.back))
        return self.head(self.block(h, src_key_padding_mask=torch.cat(parts, 1))[:, 0])


@pytest.mark.parametrize(("front", "back"), [(1, 0), (3, 0), (0, 2)])
def test_positions_that_the_network_adds_count(tmp_path: Path, front: int, back: int) -> None:
    model = Encoder(front, back)
    mask = KEEP.astype(np.int64)
    found, notes = measured(tmp_path, model, {"x": X, "attention_mask": mask})
    unmeasured = "not Linear, convolution or recurrent layers, so not measured: own (Encoder, used"
    assert [note[: len(unmeasured)] for note in notes] == [unmeasured]
    own = np.repeat(model.own.detach().numpy()[None], N, axis=0)
    with torch.inference_mode():
        embedded = model.embed(torch.from_numpy(X)).numpy()
    h = np.concatenate([own[:, :front], embedded, own[:, front:]], axis=1)
    keep = np.pad(KEEP, ((0, 0), (front, back)), constant_values=True)
    np.testing.assert_allclose(found["embed"], mean(X), atol=1e-6)
    first = "block.self_attn.in_proj_weight"
    np.testing.assert_allclose(found[first], mean(h, keep), atol=1e-6)
    assert list(found)[-4:] == [
        "block.self_attn.out_proj", "block.linear1", "block.linear2", "head",
    ]  # fmt: skip


class Strided(nn.Module):
    """Positions in the middle are of both padding and what counts."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv1d(WIDTH, 5, 2, stride=2), nn.Conv1d(5, 5, 1)
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head(self.b(self.a(x.transpose(1, 2)).relu()).mean(2))


def test_a_mask_of_another_length_leaves_the_layer_out_by_name(tmp_path: Path) -> None:
    inputs = {"x": X, "attention_mask": KEEP.astype(np.int64)}
    found, notes = measured(tmp_path, Strided(), inputs)
    np.testing.assert_allclose(found["a"], mean(X), atol=1e-6)
    assert list(found) == ["a", "head"]
    assert notes == (
        "left out: b, of 3 positions where attention_mask has 6, so that which of them are padding"
        " is not known; count all with --mask none",
    )
    found, notes = measured(tmp_path, Strided(), inputs, mask="none")
    assert list(found) == ["a", "b", "head"]
    assert notes == ()
    np.testing.assert_allclose(found["a"], X.mean(axis=1), atol=1e-6)


def test_a_mask_that_counts_everything_at_first(tmp_path: Path) -> None:
    ones = np.ones((N, STEPS), np.int64)
    found, notes = measured(tmp_path, Strided(), {"x": X, "attention_mask": ones})
    assert list(found) == ["a", "b", "head"]
    assert notes == ()
    ones[33, 4:] = 0
    message = "the attention_mask of sample 33 leaves positions out, as no sample did at first, .*b"
    with pytest.raises(InputError, match=message):
        measured(tmp_path, Strided(), {"x": X, "attention_mask": ones}, batch_size=8)


class TwoTowers(nn.Module):
    """One input with a mask, and another of as many positions that it is not about."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.head = nn.Linear(WIDTH, 5), nn.Linear(WIDTH, 5), nn.Linear(10, 2)

    def forward(
        self, x: Tensor, attention_mask: Tensor, decoder_x: Tensor, decoder_attention_mask: Tensor
    ) -> Tensor:
        pooled = []
        for layer, h, mask in (
            (self.a, x, attention_mask),
            (self.b, decoder_x, decoder_attention_mask),
        ):
            weights = mask[..., None].to(h.dtype)
            pooled.append((layer(h) * weights).sum(1) / weights.sum(1))
        return self.head(torch.cat(pooled, -1))


def test_each_of_two_masks_is_for_its_own_tower(tmp_path: Path) -> None:
    other, turned = X[::-1].copy(), KEEP[:, ::-1].copy()
    inputs = {
        "x": X,
        "attention_mask": KEEP.astype(np.int64),
        "decoder_x": other,
        "decoder_attention_mask": turned.astype(np.int64),
    }
    found, notes = measured(tmp_path, TwoTowers(), inputs)
    np.testing.assert_allclose(found["a"], mean(X), atol=1e-6)
    np.testing.assert_allclose(found["b"], mean(other, turned), atol=1e-6)
    assert notes == ()


def test_a_tower_that_no_mask_is_about_counts_whole(tmp_path: Path) -> None:
    class Both(Masked):
        def __init__(self) -> None:
            super().__init__("linear")
            self.vision = nn.Linear(3, 5)

        def forward(self, x: Tensor, attention_mask: Tensor, patches: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(x, attention_mask) + self.head(self.vision(patches).mean(1))

    patches = RNG.standard_normal((N, 9, 3)).astype(np.float32)
    inputs = {"x": X, "attention_mask": KEEP.astype(np.int64), "patches": patches}
    found, notes = measured(tmp_path, Both(), inputs)
    np.testing.assert_allclose(found["vision"], patches.mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(found["layer"], mean(X), atol=1e-6)
    assert notes == ()


def test_a_mask_that_says_nothing_of_positions_is_named(tmp_path: Path) -> None:
    pattern = np.ones((N, STEPS, STEPS), np.int64)

    class Pattern(Masked):
        def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
            return super().forward(x, attention_mask[:, 0])

    inputs = {"x": X, "attention_mask": pattern}
    found, notes = measured(tmp_path, Pattern("linear"), inputs)
    np.testing.assert_allclose(found["layer"], X.mean(axis=1), atol=1e-6)
    said = f"attention_mask, of shape ({STEPS}, {STEPS}) per sample, does not say which positions"
    assert notes == (f"{said} of any layer count: all do",)
    with pytest.raises(
        UsageError, match=r"--mask attention_mask: of shape \(6, 6\) per sample, it"
    ):
        measured(tmp_path, Pattern("linear"), inputs, mask="attention_mask")


def test_a_number_of_steps_that_is_asked_for(tmp_path: Path) -> None:
    class Counted(Masked):
        def forward(self, x: Tensor, n_real: Tensor) -> Tensor:
            return super().forward(x, torch.arange(x.shape[1]) < n_real[:, None])

    inputs = {"x": X, "n_real": LENGTHS}
    found, _ = measured(tmp_path, Counted("linear"), inputs, mask="n_real")
    np.testing.assert_allclose(found["layer"], mean(X), atol=1e-6)


@pytest.mark.parametrize("wrong", [STEPS + 1, -1, 0])
def test_lengths_that_are_none(tmp_path: Path, wrong: int) -> None:
    lengths = LENGTHS.copy()
    lengths[30] = wrong
    told = (
        "the lengths of sample 30 counts no" if wrong == 0 else "from sample 27 on, the lengths of"
    )
    with pytest.raises(InputError, match=told):
        measured(tmp_path, Named("lengths", "lengths"), {"x": X, "lengths": lengths}, batch_size=9)


class Unpacked(Named):
    """Ends where the longest sample of a batch does."""

    def forward(self, x: Tensor, **inputs: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x[:, : int(inputs["lengths"].max())], **inputs)


def test_layers_that_end_with_the_longest_of_a_batch(tmp_path: Path) -> None:
    order = np.argsort(-LENGTHS, kind="stable")
    inputs = {"x": X[order], "lengths": LENGTHS[order]}
    found, _ = measured(tmp_path, Unpacked("lengths", "lengths"), inputs, batch_size=7)
    np.testing.assert_allclose(found["layer"], mean(X)[order], atol=1e-6)


@pytest.mark.parametrize("sides", [(2, 0), (1, 1)])
def test_zeros_around_a_convolution_do_not_count(tmp_path: Path, sides: tuple[int, int]) -> None:
    class Causal(Masked):
        def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
            padded = nn.functional.pad(x.transpose(1, 2), sides)
            h = self.layer(padded)[..., : x.shape[1]].transpose(1, 2)
            weights = attention_mask[..., None].to(h.dtype)
            return self.head((h.relu() * weights).sum(1) / weights.sum(1))

    model = Causal("conv")
    model.layer = nn.Conv1d(WIDTH, 5, 3)
    for pool, expected in (("mean", mean(X)), ("first", X[:, 0]), ("tokens", X[KEEP])):
        found, _ = measured(tmp_path, model, {"x": X, "attention_mask": KEEP}, pool=pool)
        np.testing.assert_allclose(found["layer"], expected, atol=1e-6)


def test_a_mask_beside_no_predictions_is_asked_for(tmp_path: Path) -> None:
    class Silent(Masked):
        def forward(self, x: Tensor, mask: Tensor) -> Any:
            super().forward(x, mask)

    with pytest.raises(InputError, match="the inputs mask may be a mask, .* use --mask mask if"):
        measured(tmp_path, Silent("linear"), {"x": X, "mask": KEEP}, predictions=False)
