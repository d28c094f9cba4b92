"""From a network as it trains to its report: the same pass and report as of a saved checkpoint."""

from __future__ import annotations

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from nrcscan.errors import UsageError
from nrcscan.extracting.extract import open_network
from nrcscan.extracting.measure import without_file
from nrcscan.inputs.datasets.batches import Dataset
from nrcscan.options.pass_options import PassOptions
from nrcscan.options.report_options import ReportOptions
from nrcscan.reporting.report_document import Report
from nrcscan.training.left_as_found import left_as_found


def measured(
    model: nn.Module, dataset: Dataset, settings: PassOptions, judgement: ReportOptions
) -> Report:
    """Measure a network, which is left as it is found.

    Args:
        model: in any mode, on its device.
        dataset: what to measure on.
        settings: of a pass that leaves no file.
        judgement: options of the report.

    Raises:
        NrcscanError: it cannot be measured.
    """
    with left_as_found(model):
        network, origin = open_network(model, settings)
        return without_file(network, origin, dataset, settings, judgement)


def as_saved(model: nn.Module) -> nn.Module:
    """Return the network whose layers are called as in a checkpoint: without what wraps it.

    Raises:
        UsageError: it is no network, or this process has only a share of the weights.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"the network is of type {type(model).__name__}; give an nn.Module")
    while True:
        if isinstance(model, DistributedDataParallel | DataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):  # compiled
            model = inner
        else:
            break
    kinds = {type(module).__name__ for module in model.modules()}
    sharded = any(type(p).__name__ == "DTensor" or hasattr(p, "ds_id") for p in model.parameters())
    if sharded or "FullyShardedDataParallel" in kinds:
        raise UsageError(
            "the weights are shared out among processes (FSDP, DeepSpeed), and none has them all;"
            " save checkpoints and measure them with nrcscan scan"
        )
    return model
