"""Where Keras' Lion and ours differ: each difference of docs/keras.md, exactly as it is."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

NAN, INF = float("nan"), float("inf")
DOCS = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True)
class Difference:
    """What the two have after the last step; Keras perhaps by its backend.

    Of the states, ``kind`` is compared: ``x``, ``m``, ``average``, ``sum`` or ``loss_scale``.
    """

    kind: str
    keras: Any
    ours: Any
    steps: list[Any]
    settings: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def case(self) -> dict[str, Any]:
        """For workers/beside.py."""
        gradients = [g if isinstance(g, dict) else {"w": g} for g in self.steps]
        usual = {"lr": 0.25, "betas": [0.5, 0.75], "x": {"w": [1.0]}, "steps": gradients}
        return usual | dict(zip(("keras", "ours"), self.settings, strict=True)) | self.more


TWO = {"gradient_accumulation_steps": 2}
FOUR = {"gradient_accumulation_steps": 4}
EMA, OUR_EMA = {"use_ema": True, "ema_momentum": 0.5}, {"ema_decay": 0.5}
GLOBAL = {"global_clipnorm": 1.0}
PAIR = {"x": {"a": [1.0], "b": [1.0]}}
BOTH, FIRST = {"a": [1.0], "b": [1.0]}, {"a": [1.0], "b": None}
USUAL_BETAS = {"betas": [0.9, 0.99]}
BFLOAT16 = {"dtype": "bfloat16"}
THREE_TIMES = [[1.0]] * 3

DIFFERENCES = {
    "nan": Difference(
        "x", {"torch": {"w": [1.0]}, "jax": {"w": [NAN]}}, {"w": [NAN]}, [[NAN], [1.0]]
    ),
    "complement": Difference(
        "m",
        {"torch": {"w": [float(np.float32(0.01))]}, "jax": {"w": [1 - float(np.float32(0.99))]}},
        {"w": [float(np.float32(0.01))]},
        [[1.0]],
        more=USUAL_BETAS,
    ),
    "complement-bfloat16": Difference(
        "m",
        {"torch": {"w": [0.010009765625]}, "jax": {"w": [0.01171875]}},
        {"w": [0.010009765625]},
        [[1.0]],
        more=USUAL_BETAS | BFLOAT16,
    ),
    "decay-rounds-first": Difference(
        "x",
        {"w": [0.9921875]},
        {"w": [0.99609375]},
        [[1.0]],
        ({"weight_decay": 1.0}, {"weight_decay": 1.0}),
        {"lr": 2e-3} | BFLOAT16,
    ),
    "decay-is-lost": Difference(
        "x",
        {"w": [1.0]},
        {"w": [0.99609375]},
        [[1.0]],
        ({"weight_decay": 1.0}, {"weight_decay": 1.0}),
        {"lr": 1.5e-3} | BFLOAT16,
    ),
    "decay-of-zero": Difference(
        "x",
        {"torch": {"w": [INF]}, "jax": {"w": [NAN]}},
        {"w": [INF]},
        [[1.0]],
        ({"weight_decay": 0.0}, {"weight_decay": 0.0}),
        {"x": {"w": [INF]}},
    ),
    "global-clipnorm-overflow": Difference(
        "m",
        {"a": [NAN], "b": [NAN]},
        {"a": [0.0], "b": [0.0]},
        [{"a": [1e30], "b": [1.0]}],
        (GLOBAL, GLOBAL),
        PAIR,
    ),
    "global-clipnorm-infinity": Difference(
        "m",
        {"a": [NAN], "b": [NAN]},
        {"a": [NAN], "b": [0.0]},
        [{"a": [INF], "b": [1.0]}],
        (GLOBAL, GLOBAL),
        PAIR,
    ),
    "sum-bfloat16": Difference(
        "sum", {"w": [256.0]}, {"w": [258.0]}, [[256.0], [1.0], [1.0]], (FOUR, FOUR), BFLOAT16
    ),
    "sum-without-last": Difference(
        "m", {"a": [0.25], "b": [0.0]}, {"a": [0.25], "b": [0.125]}, [BOTH, FIRST], (TWO, TWO), PAIR
    ),
    "schedule-of-micro-steps": Difference(
        "x", {"w": [0.875]}, {"w": [0.75]}, [[1.0]] * 2, (TWO, TWO), {"lr": "halving"}
    ),
    "average-start": Difference("average", {"w": [0.75]}, {"w": [0.875]}, [[1.0]], (EMA, OUR_EMA)),
    "average-of-micro-steps": Difference(
        "average",
        {"w": [0.5625]},
        {"w": [0.625]},
        [[1.0]] * 5,
        (EMA | TWO, OUR_EMA | TWO),
        {"handover": 4},
    ),
    "average-without-gradient": Difference(
        "average",
        {"a": [0.4375], "b": [0.5625]},
        {"a": [0.4375], "b": [0.625]},
        [BOTH, BOTH, FIRST],
        (EMA, OUR_EMA),
        PAIR | {"handover": 1},
    ),
    "average-bfloat16": Difference(
        "average",
        {"w": [0.9921875]},
        {"w": [0.99195396900177]},
        THREE_TIMES,
        (EMA | {"ema_momentum": 0.99}, {"ema_decay": 0.99}),
        {"lr": 2.0**-7, "handover": 1} | BFLOAT16,
    ),
    "overwrite-in-micro-steps": Difference(
        "x",
        {"w": [0.4375]},
        {"w": [0.375]},
        [[1.0]] * 7,
        (
            EMA | TWO | {"ema_overwrite_frequency": 2},
            OUR_EMA | TWO | {"ema_overwrite_every": 2},
        ),
        {"handover": 6},
    ),
    "loss-scale-float16": Difference(
        "x",
        {"w": [1.0]},
        {"w": [0.75]},
        [[2.0**-10]],
        ({"loss_scale_factor": 2.0**15}, {"loss_scale": 2.0**15}),
        {"dtype": "float16"},
    ),
    "loss-scale-above": Difference(
        "loss_scale",
        2.0**25,
        2.0**24,
        [[1.0]] * 2,
        (
            {"dynamic": {"initial_scale": 2.0**23, "dynamic_growth_steps": 1}},
            {"loss_scale": "dynamic", "loss_scale_growth_interval": 1},
        ),
        {"handover": 1},
    ),
    "loss-scale-below": Difference(
        "loss_scale",
        0.5,
        1.0,
        [[INF]] * 2,
        ({"dynamic": {"initial_scale": 2.0}}, {"loss_scale": "dynamic"}),
        {"handover": 1},
    ),
}
CASES = {name: difference.case for name, difference in DIFFERENCES.items()}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_what_the_two_do(name, runs, backend):
    due, theirs, ours = DIFFERENCES[name], runs[name]["keras"][-1], runs[name]["ours"][-1]
    by_backend = isinstance(due.keras, dict) and backend in due.keras
    np.testing.assert_equal(theirs[due.kind], due.keras[backend] if by_backend else due.keras)
    np.testing.assert_equal(ours[due.kind], due.ours)


def test_the_guide_has_them_all():
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", (DOCS / "keras.md").read_text(), re.MULTILINE)
    assert rows == list(DIFFERENCES)
