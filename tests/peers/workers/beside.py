"""Run cases from stdin with Keras' Lion and with ours; print the states of both as JSON.

A case has ``x`` and ``steps`` (parameters, and the gradients of each step, by name), ``lr``,
``betas``, ``keras`` and ``ours`` (other settings). It may have ``dtype``, ``gradient_dtype``,
``exclude`` (names that do not decay), and ``handover``: the number of steps that Keras makes alone
before ours goes on from its state.
"""

import json
import os
import sys
from importlib import import_module
from typing import Any

import keras_side
import ml_dtypes
import numpy as np

from lion_ports import PortableState

OURS = import_module(f"{os.environ['KERAS_BACKEND']}_side").Side
ARRAYS = {"parameters": "x", "momentum": "m", "average": "average", "gradient_sum": "sum"}
NUMBERS = ("count", "micro", "skipped", "loss_scale", "good_steps")


def halving(step: Any) -> Any:
    """A schedule, which JSON has no other form for than its name: 1/4, 1/8, 1/16 ..."""
    return 0.25 * 0.5**step


def arrays(values: dict[str, Any], dtype: str) -> dict[str, Any]:
    """Numbers as arrays; None, for no gradient, stays None."""
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    return {name: v if v is None else np.array(v, kind) for name, v in values.items()}


def recorded(state: PortableState) -> dict[str, Any]:
    """A state as plain numbers, which hold every value exactly."""
    kept = {
        key: {name: a.astype(np.float64).tolist() for name, a in getattr(state, kind).items()}
        for kind, key in ARRAYS.items()
    }
    return kept | {name: getattr(state, name) for name in NUMBERS}


def run(case: dict[str, Any]) -> dict[str, list[Any]]:
    """The states after every step; those of ours from the handover on."""
    dtype, handover = case.get("dtype", "float32"), case.get("handover", 0)
    xs = arrays(case["x"], dtype)
    lr = halving if case["lr"] == "halving" else case["lr"]
    same = {"lr": lr, "betas": case["betas"], "exclude": case.get("exclude", ())}
    theirs, ours = keras_side.Side(xs, **same, **case["keras"]), OURS(xs, **same, **case["ours"])
    states: dict[str, list[Any]] = {"keras": [], "ours": []}
    for number, values in enumerate(case["steps"]):
        gs = arrays(values, case.get("gradient_dtype", dtype))
        if number == handover > 0:
            ours.restore(theirs.state())
        theirs.step(gs)
        states["keras"].append(recorded(theirs.state()))
        if number >= handover:
            ours.step(gs)
            states["ours"].append(recorded(ours.state()))
    return states


print(json.dumps({name: run(case) for name, case in json.load(sys.stdin).items()}))
