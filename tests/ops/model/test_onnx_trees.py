"""Trees as ONNX say what LightGBM's say, whatever is missing and however near a threshold."""

import numpy as np
import onnxruntime
import pytest

from ops.model.onnx_trees import to_onnx
from tests.operators.model.made import booster


@pytest.mark.parametrize("seed", range(3))
def test_every_input_goes_the_same_way(seed):
    trees = booster(rounds=30, seed=seed)
    session = onnxruntime.InferenceSession(
        to_onnx(trees, 3), providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(2_000, 3)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.2] = np.nan
    # On thresholds and on the numbers beside them, where rounding would go wrong.
    dumped = trees.dump_model()["tree_info"]
    nodes = [each["tree_structure"] for each in dumped]
    for node in nodes:
        if "split_feature" in node:
            nodes += [node["left_child"], node["right_child"]]
            near = np.float32(node["threshold"])
            up, down = np.nextafter(near, np.float32(9)), np.nextafter(near, np.float32(-9))
            # What is nearer to 0 than 1e-35 is 0 for LightGBM.
            for value in (near, up, down) if abs(near) > 1e-30 else (np.float32(0),):
                row = rng.normal(size=3).astype(np.float32)
                row[node["split_feature"]] = value
                rows = np.vstack([rows, row])
    assert len(rows) > 2_100
    (scores,) = session.run(None, {"input": rows})
    assert np.abs(scores[:, 0] - trees.predict(rows)).max() < 1e-6
