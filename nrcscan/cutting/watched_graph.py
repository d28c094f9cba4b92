"""Runs a network's graph, and finds the call of a layer in it, and the tensor that reaches it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx

from nrcscan.errors import InputError
from nrcscan.network.call import Call
from nrcscan.network.call_plan import CallPlan
from nrcscan.network.capture import Capture


class WatchedGraph(fx.Interpreter):
    """Runs a graph, and notes at which node a layer is called, and on what.

    Args:
        graph: of the network.
        plan: what a probe of the network found.
        layer: the call to look for.
    """

    def __init__(self, graph: fx.GraphModule, plan: CallPlan, layer: str) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self._plan, self._layer = plan, layer
        self._running: fx.Node | None = None
        self.at: fx.Node | None = None
        self.call: Call | None = None
        self._features: Tensor | None = None

    def watch(self, leaves: Sequence[Tensor]) -> None:
        """Run the graph on these inputs."""
        with Capture(self._plan.layers, self._see, constants=self._plan.constants):
            self.run(*leaves, enable_io_processing=False)

    def run_node(self, n: fx.Node) -> Any:
        """Run a node, unless it only checks the inputs' shapes."""
        self._running = n
        return None if n.op == "call_module" else super().run_node(n)

    def _see(self, call: Call, features: Tensor) -> None:
        if call.name == self._layer:
            self.at, self.call, self._features = self._running, call, features

    def node_of_features(self) -> fx.Node:
        """Return the node whose tensor reaches the layer.

        Raises:
            InputError: it is no tensor of the graph, but one within an operation.
        """
        assert self.at is not None
        nodes = list(self.module.graph.nodes)  # type: ignore[union-attr,arg-type]
        earlier = nodes[: nodes.index(self.at)]
        for node in (*self.at.all_input_nodes, *reversed(earlier)):
            if node.op != "get_attr" and self._is_features(self.env.get(node)):
                return node
        raise InputError(
            f"{self._layer}: what reaches it is made within one operation ({self.at.target}) and is"
            " no tensor that a network could end at; cut before the first layer of that operation,"
            " or before another layer"
        )

    def _is_features(self, value: Any) -> bool:
        there = self._features
        if not isinstance(value, Tensor) or there is None:
            return False
        return value is there or (
            value.data_ptr() == there.data_ptr()
            and value.shape == there.shape
            and value.stride() == there.stride()
            and value.dtype == there.dtype
        )
