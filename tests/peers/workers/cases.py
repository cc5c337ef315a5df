"""What the scripts share: a case from JSON as two optimizers, and a state as JSON.

A case has ``x`` and ``steps`` (parameters, and the gradients of each step, by name), ``lr`` and
``betas``, and other settings in ``keras`` and ``ours``. It may have ``dtype``, ``exclude`` (names
that do not decay), and ``handover``, a number of steps.
"""

import os
from importlib import import_module
from typing import Any

import keras_side
import ml_dtypes
import numpy as np

from lion_ports import PortableState

OURS = import_module(f"{os.environ['KERAS_BACKEND']}_side").Side
ARRAYS = {"parameters": "x", "momentum": "m", "average": "average", "gradient_sum": "sum"}
COUNTERS = ("count", "micro", "skipped", "loss_scale", "good_steps")


def sides(case: dict[str, Any]) -> tuple[Any, Any]:
    """Keras' Lion and ours, both at the start of a case."""
    xs = arrays(case["x"], case)
    same = {"lr": rate(case), "betas": case["betas"], "exclude": case.get("exclude", ())}
    return keras_side.Side(xs, **same, **case["keras"]), OURS(xs, **same, **case["ours"])


def rate(case: dict[str, Any]) -> Any:
    """The learning rate, or the schedule that JSON has only the name of: 1/4, 1/8, 1/16 ..."""
    return (lambda step: 0.25 * 0.5**step) if case["lr"] == "halving" else case["lr"]


def arrays(values: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    """Numbers as arrays in the dtype of a case; None, for no gradient, stays None."""
    name = case.get("dtype", "float32")
    dtype = ml_dtypes.bfloat16 if name == "bfloat16" else name
    return {name: v if v is None else np.array(v, dtype) for name, v in values.items()}


def gradients(case: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of each step."""
    return [arrays(values, case) for values in case["steps"]]


def recorded(state: PortableState) -> dict[str, Any]:
    """A state as plain numbers, which hold every value exactly, and the dtypes of its arrays."""
    kept: dict[str, Any] = {name: getattr(state, name) for name in COUNTERS}
    kept["seen"] = dict(sorted(state.seen.items()))
    for kind, key in ARRAYS.items():
        of = dict(sorted(getattr(state, kind).items()))
        kept[key] = {name: a.astype(np.float64).tolist() for name, a in of.items()}
        kept[f"dtypes of {key}"] = {name: str(a.dtype) for name, a in of.items()}
    return kept
