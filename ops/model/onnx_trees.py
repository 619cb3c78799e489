"""Gradient-boosted trees as an ONNX file that says exactly the same.

LightGBM compares a double, ONNX a float32, and inputs are float32: a threshold becomes the
largest float32 that is not above it, so that both send every input the same way. General
converters round to the nearest one.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

_OPSET: Final = 17
_TREES_OPSET: Final = 3
_IR: Final = 8
_NODE: Final = (
    "treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids",
    "missing_value_tracks_true",
)  # fmt: skip


def _not_above(threshold: float) -> float:
    near = np.float32(threshold)
    if float(near) > threshold:
        near = np.nextafter(near, np.float32(-np.inf))
    return float(near)


class _Trees:
    """The attributes of an ensemble: a value of each for every node, and for every leaf."""

    def __init__(self) -> None:
        self.nodes: dict[str, list[Any]] = {name: [] for name in _NODE}
        self.leaves: dict[str, list[Any]] = {
            name: [] for name in ("treeids", "nodeids", "ids", "weights")
        }

    def add(self, tree: int, node: Mapping[str, Any], number: int = 0) -> int:
        """Take a node and those below it, numbered from `number` on; return the next number."""
        row: dict[str, Any] = dict.fromkeys(_NODE, 0) | {
            "treeids": tree,
            "nodeids": number,
            "values": 0.0,
        }
        at = len(self.nodes["nodeids"])
        for name in _NODE:
            self.nodes[name].append(row[name])
        if "split_feature" not in node:
            self.nodes["modes"][at] = "LEAF"
            leaf: dict[str, Any] = {"treeids": tree, "nodeids": number, "ids": 0}
            leaf |= {"weights": float(node["leaf_value"])}
            for name, value in leaf.items():
                self.leaves[name].append(value)
            return number + 1
        if node["decision_type"] != "<=":
            raise ValueError("only numbers are inputs")
        # Without one while it was trained, LightGBM takes what is missing for 0.
        left = node["default_left"] if node["missing_type"] == "NaN" else node["threshold"] >= 0
        right = self.add(tree, node["left_child"], number + 1)
        end = self.add(tree, node["right_child"], right)
        stated = {
            "featureids": node["split_feature"], "modes": "BRANCH_LEQ",
            "values": _not_above(node["threshold"]), "truenodeids": number + 1,
            "falsenodeids": right, "missing_value_tracks_true": int(left),
        }  # fmt: skip
        for name, value in stated.items():
            self.nodes[name][at] = value
        return end


def to_onnx(booster: Any, inputs: int) -> bytes:
    """Return a binary classifier of LightGBM as ONNX: `input` (n, inputs) to `score` (n, 1)."""
    from onnx import TensorProto, checker, helper

    node: Any = helper.make_node
    trees = _Trees()
    for tree in booster.dump_model()["tree_info"]:
        trees.add(int(tree["tree_index"]), tree["tree_structure"])
    nodes = [
        node(
            "TreeEnsembleRegressor", ["input"], ["raw"], domain="ai.onnx.ml",
            n_targets=1, post_transform="NONE",
            **{f"nodes_{name}": each for name, each in trees.nodes.items()},
            **{f"target_{name}": each for name, each in trees.leaves.items()},
        ),
        node("Sigmoid", ["raw"], ["score"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "trees",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, inputs])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, 1])],
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _TREES_OPSET)]
    made = helper.make_model(
        graph, opset_imports=opsets, ir_version=_IR, producer_name="millstream"
    )
    checker.check_model(made)
    content: bytes = made.SerializeToString()
    return content
