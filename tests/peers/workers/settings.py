"""The settings that Keras' Lion has, and whether it takes some values; prints them as JSON."""

import inspect
import json
from collections.abc import Callable

import keras
import torch


def taken(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (TypeError, ValueError):
        return False
    return True


def step(lr: object = 0.25, weight_decay: object = None) -> None:
    variable = keras.Variable([1.0])
    optimizer = keras.optimizers.Lion(lr, weight_decay=weight_decay)
    optimizer.build([variable])
    optimizer.apply([keras.ops.ones(1)])


parameters = inspect.signature(keras.optimizers.Lion).parameters
print(
    json.dumps(
        {
            "defaults": {n: p.default for n, p in parameters.items() if n != "kwargs"},
            "taken": {
                "lr as a tensor": taken(lambda: step(torch.tensor(0.25))),
                "negative lr": taken(lambda: step(-1.0)),
                "schedule of weight decay": taken(lambda: step(weight_decay=lambda: 0.1)),
                "beta_1 of 0": taken(lambda: keras.optimizers.Lion(beta_1=0.0)),
                "beta_1 of 1": taken(lambda: keras.optimizers.Lion(beta_1=1.0)),
            },
        }
    )
)
