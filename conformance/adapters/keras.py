"""``keras.optimizers.Optimizer`` classes, on Keras's torch or JAX backend."""

import os
import warnings
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from lion_ports.config import LionConfig
from lion_ports.conformance.adapters.target import Adapter, Target, TargetError, settings_of
from lion_ports.conformance.protocol import Arrays, UnsupportedError

_BACKENDS = ("torch", "jax")

# Keras takes its backend from the environment when it is imported, and else TensorFlow.
if os.environ.setdefault("KERAS_BACKEND", "torch") not in _BACKENDS:
    raise TargetError(
        f"KERAS_BACKEND is {os.environ['KERAS_BACKEND']!r}, and the suite drives Keras on "
        f"{' and on '.join(_BACKENDS)}"
    )

import keras  # noqa: E402

_NAMES = {
    "lr": "learning_rate",
    "ema_decay": "ema_momentum",
    "ema_overwrite_every": "ema_overwrite_frequency",
    "loss_scale": "loss_scale_factor",
}
"""What Keras calls the settings of the specification; the others it calls as we do, or not."""

_MOMENTUM_WORDS = ("momentum", "velocity", "exp_avg")


def adapt(target: Target, device: str) -> Adapter:
    """Fresh optimizers of the class that the target names, on a device of Keras's backend."""
    if device != "cpu":
        raise TargetError(f"--impl {target.spec} runs on the cpu; --device {device} does not apply")
    target.load()
    with keras.device("cpu"):
        product = keras.ops.convert_to_tensor(np.float32(2.0**-130)) * 1.5
        flushes = not np.any(keras.ops.convert_to_numpy(product))
    version = f"{target.version} on {keras.backend.backend()}"
    return Adapter(target, lambda: Keras(target), device=device, flushes=flushes, version=version)


class Keras:
    """One optimizer over named variables."""

    offers = ("frozen",)

    def __init__(self, target: Target) -> None:
        self._target = target

    def construct(
        self,
        params: Arrays,
        settings: Mapping[str, Any],
        mask: Any,
        *,
        frozen: frozenset[str] = frozenset(),
    ) -> None:
        """Make the optimizer; a mask becomes ``exclude_from_weight_decay``."""
        settings = dict(settings)
        for name in ("lr", "weight_decay"):
            if callable(settings.get(name)):
                raise UnsupportedError(f"a schedule of {name}")
        if settings.get("loss_scale") == "dynamic":
            raise UnsupportedError("a dynamic loss scale of the optimizer itself")
        if any(x.dtype in (np.float64, np.complex128) for x in params.values()) and _is_jax():
            raise UnsupportedError("float64, which needs another mode of JAX")
        rename = self._target.rename
        if "betas" in settings and "betas" not in rename:
            for name, value in zip(("beta_1", "beta_2"), settings.pop("betas"), strict=True):
                settings[rename.get(name, name)] = value
        if settings.get("ema_decay") is not None:
            settings["use_ema"] = True
        settings["lr"] = float(settings["lr"])
        self._averages = settings.get("ema_decay") is not None
        self._params = {n: self._variable(n, x) for n, x in params.items()}
        self.freeze(frozen)
        self._optimizer = self._target.make(names=_NAMES, **settings)
        if mask is not None:
            excluded = [self._params[n] for n, decays in mask.items() if not decays]
            self._optimizer.exclude_from_weight_decay(var_list=excluded)
        self._optimizer.build(list(self._params.values()))

    def _variable(self, name: str, x: NDArray[Any]) -> Any:
        if x.dtype.kind in "iuc":
            raise UnsupportedError(f"dtype {x.dtype.name}")
        return keras.Variable(_tensor(x), dtype=x.dtype.name, name=name.replace("/", "_"))

    def start(
        self,
        params: Arrays,
        config: LionConfig,
        mask: Any = None,
        *,
        defaults: bool = False,
        **asked: Any,
    ) -> None:
        """Take parameters and settings."""
        self.construct(params, settings_of(config, defaults=defaults), mask, **asked)

    def freeze(self, names: frozenset[str]) -> None:
        """Train all variables but these."""
        for name, variable in self._params.items():
            variable.trainable = name not in names

    def step(self, grads: Mapping[str, NDArray[Any] | None], lr: float) -> None:
        """Make one update."""
        self._optimizer.learning_rate = lr
        self._grads = {n: None if g is None else _tensor(g) for n, g in grads.items()}
        if not any(g is not None for g in grads.values()):
            raise UnsupportedError("a step without any gradient")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Gradients do not exist")  # that is the case
            self._optimizer.apply([self._grads[n] for n in self._params], [*self._params.values()])

    def gradients(self) -> dict[str, NDArray[Any] | None]:
        """The gradients as the step left them."""
        return {n: None if g is None else _array(g) for n, g in self._grads.items()}

    def params(self) -> dict[str, NDArray[Any]]:
        """The parameters now."""
        return {n: _array(x.value) for n, x in self._params.items()}

    def momentum(self) -> dict[str, NDArray[Any]] | None:
        """The optimizer's variables that are named after a momentum, or None if there are none."""
        return self._found(_MOMENTUM_WORDS)

    def average(self) -> dict[str, NDArray[Any]] | None:
        """The averages, if there are any: before the first step, the parameters themselves."""
        averages = self._found(("average",)) if self._averages else None
        if averages is None or int(self._optimizer.iterations) > 0:
            return averages
        return {n: x.astype(averages[n].dtype) for n, x in self.params().items()}

    def _found(self, words: tuple[str, ...]) -> dict[str, NDArray[Any]] | None:
        """By parameter, the variable of its own, in the order in which all were made."""
        alike = [v for v in self._optimizer.variables if any(w in v.path for w in words)]
        if len(alike) != len(self._params):
            return None
        return {n: _array(v.value) for n, v in zip(self._params, alike, strict=True)}

    def save(self) -> Any:
        """Parameters, and all variables of the optimizer."""
        store: dict[str, Any] = {}
        self._optimizer.save_own_variables(store)
        return self.params(), {k: np.array(v) for k, v in store.items()}

    def restore(self, saved: Any) -> None:
        """Go on from what ``save`` gave."""
        params, store = saved
        for name, x in params.items():
            self._params[name].assign(_tensor(x))
        self._optimizer.load_own_variables(store)


def _is_jax() -> bool:
    return bool(keras.backend.backend() == "jax")


def _tensor(array: NDArray[Any]) -> Any:
    return keras.ops.convert_to_tensor(np.array(array, order="C"), dtype=array.dtype.name)


def _array(tensor: Any) -> NDArray[Any]:
    """A copy; what torch has no NumPy dtype for comes back by way of float32, which is exact."""
    name = keras.backend.standardize_dtype(tensor.dtype)
    if name == "bfloat16":
        wide = keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))
        return np.asarray(wide).astype(ml_dtypes.bfloat16)
    return np.array(keras.ops.convert_to_numpy(tensor))
