"""The networks: an MLP, a convolutional regressor, a ResNet-18.

On the command line of nrcscan: `--model reproduction/networks.py:build --model-args '{…}'`.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


class MLP(nn.Module):
    """The paper's: linear layers without bias, ReLU between."""

    def __init__(self, inputs: int, outputs: int, depth: int, width: int) -> None:
        super().__init__()
        widths = [inputs, *[width] * (depth - 1), outputs]
        modules: list[nn.Module] = []
        for before, after in pairwise(widths):
            modules += [nn.Linear(before, after, bias=False), nn.ReLU()]
        self.layers = nn.Sequential(*modules[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Return predictions (N, outputs) for inputs (N, inputs)."""
        return self.layers(x)


class Convolutional(nn.Module):
    """Convolutions that halve an image, then linear layers; no norms, as in the MLP.

    `depth` is how many layers there are in all; three of them are convolutions.
    """

    def __init__(self, outputs: int, depth: int, width: int) -> None:
        super().__init__()
        channels = [3, width, 2 * width, 2 * width]
        modules: list[nn.Module] = []
        for before, after in pairwise(channels):
            modules += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
        self.convolutions = nn.Sequential(*modules)
        self.layers = MLP(2 * width * 4 * 8, outputs, depth - 3, 4 * width).layers

    def forward(self, x: Tensor) -> Tensor:
        """Return predictions (N, outputs) for images (N, 3, 32, 64)."""
        return self.layers(self.convolutions(x).flatten(1))


class BasicBlock(nn.Module):
    """Two convolutions and what leads past them."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return features (N, after, H / stride, W / stride)."""
        past = self.downsample(x)
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + past)


class ResNet18(nn.Module):
    """He et al. 2015, with `width` channels in place of 64, and the paper's head of two layers."""

    def __init__(self, outputs: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        before = width
        for stage in range(4):
            after, stride = width * 2**stage, 1 if stage == 0 else 2
            blocks = nn.Sequential(BasicBlock(before, after, stride), BasicBlock(after, after, 1))
            self.add_module(f"layer{stage + 1}", blocks)
            before = after
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(before, before), nn.LayerNorm(before), nn.ReLU(), nn.Linear(before, outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return predictions (N, outputs) for images (N, 3, H, W)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(4):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return self.fc(self.avgpool(x).flatten(1))


def build(network: str, inputs: int, outputs: int, depth: int, width: int) -> nn.Module:
    """Return a network with random weights.

    Args:
        network: "mlp", "convolutional" or "resnet18".
        inputs: d of an MLP's inputs; the others take images (3, 32, 64).
        outputs: t.
        depth: layers; a ResNet-18 has its own.
        width: of an MLP's layers, or channels of the first convolution.

    Raises:
        ValueError: there is no such network.
    """
    if network == "mlp":
        return MLP(inputs, outputs, depth, width)
    if network == "convolutional":
        return Convolutional(outputs, depth, width)
    if network == "resnet18":
        return ResNet18(outputs, width)
    raise ValueError(f"no network is called {network!r}; take mlp, convolutional or resnet18")


def start(model: nn.Module) -> None:
    """Give a network its first weights, after He et al. 2015: no layer weakens the signal.

    With those of torch, eight layers without biases leave 1/1000 of it, and weight decay ends it.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
