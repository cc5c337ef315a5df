"""Export from Keras models, and what is refused; prints names and messages as JSON."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from lion_ports import PortableState, StateError
from lion_ports.keras import export_state, import_state

Attempt = Callable[[], object]


def model(units: int = 2, dtype: str = "float32") -> keras.Sequential:
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Input((3,)), keras.layers.Dense(units, name="dense", dtype=dtype)]
    return keras.Sequential(layers, name="model")


def built(of: keras.Sequential, optimizer: Any) -> Any:
    optimizer.build(of.trainable_variables)
    return optimizer


def lion(of: keras.Sequential, **settings: Any) -> Any:
    return built(of, keras.optimizers.Lion(0.25, **settings))


def exporting(optimizer: Any, of: keras.Sequential) -> Attempt:
    return lambda: export_state(of, optimizer)


def importing(portable: PortableState, of: keras.Sequential, **settings: Any) -> Attempt:
    return lambda: import_state(portable, of, lion(of, **settings))


def namesakes() -> object:
    variables = [keras.Variable(0.0, name="v") for _ in range(2)]
    optimizer = keras.optimizers.Lion()
    optimizer.build(variables)
    return export_state(variables, optimizer)


def message(attempt: Attempt) -> str | None:
    """What a StateError says, and None where there is none, or where it came too late."""
    before = [variable.numpy().tobytes() for variable in variables]
    try:
        attempt()
    except StateError as error:
        unchanged = before == [variable.numpy().tobytes() for variable in variables]
        return str(error) if unchanged else None
    return None


usual, wider, halves = model(), model(units=4), model(dtype="bfloat16")
variables = [variable for of in (usual, wider, halves) for variable in of.trainable_variables]
state, of_halves = export_state(usual, lion(usual)), export_state(halves, lion(halves))
ones = {name: np.ones(x.shape, np.float32) for name, x in state.parameters.items()}
thirds = {name: x / np.float32(3) for name, x in ones.items()}
one_sum = {"micro": 1, "gradient_sum": thirds, "seen": dict.fromkeys(thirds, 1)}
more, fewer = ones | {"more": np.ones(1)}, {"model.dense.kernel": ones["model.dense.kernel"]}
adam, scaled = keras.optimizers.Adam(), keras.optimizers.LossScaleOptimizer
two = {"gradient_accumulation_steps": 2}

REFUSED: dict[str, Attempt] = {
    "no Lion": exporting(built(usual, adam), usual),
    "no Lion inside": exporting(built(usual, scaled(keras.optimizers.Adam())), usual),
    "not built": exporting(keras.optimizers.Lion(), usual),
    "another model": exporting(lion(usual), wider),
    "namesakes": namesakes,
    "a parameter less": importing(PortableState(fewer, fewer), usual),
    "a parameter more": importing(PortableState(more, more), usual),
    "another shape": importing(replace(state, parameters=ones, momentum=ones), wider),
    "another dtype": importing(state, halves),
    "rounded momentum": importing(replace(of_halves, momentum=thirds), halves),
    "rounded average": importing(replace(of_halves, average=thirds), halves, use_ema=True),
    "rounded sum": importing(replace(of_halves, **one_sum), halves, **two),
    "independent decay": importing(replace(state, lr_peak=dict.fromkeys(ones, 0.5)), usual),
    "micro-steps": importing(replace(state, micro=2), usual, **two),
    "an average": importing(replace(state, average=ones), usual),
    "a loss scale": importing(replace(state, loss_scale=2.0), usual),
}

print(
    json.dumps(
        {
            "names": list(state.parameters),
            "shapes": [x.shape for x in state.momentum.values()],
            "refused": {name: message(attempt) for name, attempt in REFUSED.items()},
        }
    )
)
