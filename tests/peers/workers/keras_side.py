"""``keras.optimizers.Lion`` over named arrays, on the backend in KERAS_BACKEND."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import keras

from lion_ports import PortableState
from lion_ports.keras import export_state, import_state


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A function of the step in the form that Keras takes."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, step: Any) -> Any:
        return self.function(keras.ops.cast(step, "float32"))


class Side:
    def __init__(
        self,
        xs: Mapping[str, Any],
        *,
        lr: Any,
        betas: tuple[float, float],
        exclude: Collection[str] = (),
        dynamic: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.variables = [keras.Variable(x, dtype=str(x.dtype), name=n) for n, x in xs.items()]
        rate = Schedule(lr) if callable(lr) else lr
        self.optimizer: Any = keras.optimizers.Lion(rate, *betas, **settings)
        if exclude:
            self.optimizer.exclude_from_weight_decay(var_names=list(exclude))
        if dynamic is not None:
            self.optimizer = keras.optimizers.LossScaleOptimizer(self.optimizer, **dynamic)
        self.optimizer.build(self.variables)

    def step(self, gs: Mapping[str, Any]) -> None:
        """As Keras itself trains on each backend: in place on torch, by pure functions on JAX."""
        grads = [None if g is None else keras.ops.convert_to_tensor(g) for g in gs.values()]
        if keras.backend.backend() == "torch":
            self.optimizer.apply(grads)
            return
        kept = (self.optimizer.variables, self.variables)
        state, xs = ([variable.value for variable in variables] for variables in kept)
        xs, state = self.optimizer.stateless_apply(state, grads, xs)
        for variables, values in zip(kept, (state, xs), strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

    def state(self) -> PortableState:
        return export_state(self.variables, self.optimizer)

    def restore(self, state: PortableState) -> None:
        import_state(state, self.variables, self.optimizer)
