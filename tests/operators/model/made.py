"""Small models as files, with their cards."""

import hashlib

import lightgbm
import numpy as np
from onnx import TensorProto, helper

from operators.model import ModelCard, card_of
from ops.model.onnx_trees import to_onnx


def booster(inputs=3, rounds=12, seed=0):
    """Return trees that have learnt from numbers with gaps, in some columns only."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(600, inputs)).astype(np.float32)
    rows[:, 0] = np.round(rows[:, 0])
    rows[rng.random(600) < 0.2, -1] = np.nan
    wanted = (np.nan_to_num(rows).sum(axis=1) + rng.normal(size=600) > 0).astype(np.int8)
    fixed = {"num_threads": 1, "deterministic": True, "seed": 0, "verbose": -1}
    fixed |= {"objective": "binary", "num_leaves": 7, "min_data_in_leaf": 5}
    return lightgbm.train(fixed, lightgbm.Dataset(rows, wanted), rounds)


def identity(inputs):
    """Return the content of a model that answers with its inputs, as they are."""
    shape = [None, inputs]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name in ("input", "score")
    ]
    nodes = [helper.make_node("Identity", ["input"], ["score"])]
    graph = helper.make_graph(nodes, "as given", values[:1], values[1:])
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def write(path, inputs, content=None, **stated):
    """Write a model of inputs, and a card; return the card."""
    content = to_onnx(booster(len(inputs)), len(inputs)) if content is None else content
    path.write_bytes(content)
    card = ModelCard(
        **{
            "name": "made",
            "version": 1,
            "description": "A model.",
            "inputs": inputs,
            "stream": "payments",
            "features": {},
            "sha256": hashlib.sha256(content).hexdigest(),
            "threshold": 0.5,
            "trained": {},
            "scores": {},
        }
        | stated
    )
    card_of(path).write_text(card.dump())
    return card
