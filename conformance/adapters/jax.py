"""Optax transforms, lion_ports' and others', and lion_ports' fused step."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from lion_ports.config import LionConfig
from lion_ports.conformance.adapters.target import Adapter, Target, TargetError, settings_of
from lion_ports.conformance.protocol import Arrays, UnsupportedError

# What optax calls the settings of the specification.
_NAMES = {"lr": "learning_rate", "momentum_dtype": "mu_dtype"}


def adapt(target: Target, device: str) -> Adapter:
    """Fresh transforms of the function that the target names, on a JAX platform."""
    try:
        jax.config.update("jax_default_device", jax.devices(device)[0])
    except RuntimeError as error:
        raise TargetError(f"--device {device} is not there for JAX ({error})") from error
    target.load()
    tiny = jax.jit(lambda a: a * 1.5)(jnp.float32(2.0**-130))
    kind = Fused if target.attribute == "fused_lion" else Optax
    return Adapter(target, lambda: kind(target), device=device, flushes=bool(tiny == 0))


class Optax:
    """One transform, compiled together with ``optax.apply_updates``."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._ours = target.module.startswith("lion_ports")

    def construct(self, params: Arrays, settings: Mapping[str, Any], mask: Any) -> None:
        """Make the transform; JAX needs its x64 mode for float64."""
        self._x64 = any(x.dtype in (np.float64, np.complex128) for x in params.values())
        settings = dict(settings)
        if "betas" in settings and "betas" not in self._target.rename:
            settings["b1"], settings["b2"] = settings.pop("betas")
        if mask is not None:
            settings["mask"] = dict(mask)
        with jax.enable_x64(self._x64):
            self._build(settings)
            self._params = {n: jnp.asarray(x) for n, x in params.items()}
            self._state = self._init(self._params)

    def _build(self, settings: dict[str, Any]) -> None:
        lr = settings.pop("lr")

        def transform(learning_rate: Any) -> Any:
            return self._target.make(names=_NAMES, lr=learning_rate, **settings)

        transform(lr)  # with the number itself, which the transform may want to check
        # Without a dtype it would take that of the gradients, bfloat16 or complex.
        dtype = jnp.float64 if self._x64 else jnp.float32
        optimizer = optax.inject_hyperparams(transform, hyperparam_dtype=dtype)(learning_rate=lr)

        def step(params: Any, grads: Any, state: Any, lr: Any) -> Any:
            state = state._replace(hyperparams={**state.hyperparams, "learning_rate": lr})
            updates, state = optimizer.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        self._init = optimizer.init
        self._step = jax.jit(step)

    def start(
        self, params: Arrays, config: LionConfig, mask: Any = None, *, defaults: bool = False
    ) -> None:
        """Take parameters and settings."""
        self.construct(params, settings_of(config, defaults=defaults), mask)

    def step(self, grads: Mapping[str, NDArray[Any] | None], lr: float) -> None:
        """Make one update."""
        if not self._ours and any(g is None for g in grads.values()):
            raise UnsupportedError("a parameter without a gradient")
        with jax.enable_x64(self._x64):
            gs = {n: None if g is None else jnp.asarray(g) for n, g in grads.items()}
            rate = jnp.asarray(lr, jnp.float64 if self._x64 else jnp.float32)
            self._params, self._state = self._step(self._params, gs, self._state, rate)

    def params(self) -> dict[str, NDArray[Any]]:
        """The parameters now."""
        return _arrays(self._params)

    def momentum(self) -> dict[str, NDArray[Any]] | None:
        """The first tree in the state that looks like the parameters, or None."""
        tree = _like(self._state, self._params)
        return None if tree is None else _arrays(tree)

    def load(self, params: Arrays, momentum: Arrays) -> None:
        """Go on from this state, put where ``momentum`` finds it."""
        if _like(self._state, self._params) is None:
            raise UnsupportedError("load")
        with jax.enable_x64(self._x64):
            self._params = {n: jnp.asarray(x) for n, x in params.items()}
            placed = {n: jnp.asarray(m) for n, m in momentum.items()}
            self._state = _replaced(self._state, self._params, placed)


class Fused(Optax):
    """lion_ports' in-place step."""

    def _build(self, settings: dict[str, Any]) -> None:
        optimizer = self._target.make(names=_NAMES, **settings)
        self._init = optimizer.init
        self._step = optimizer.step
        if not self._target.spec.endswith("+eager"):
            self._step = jax.jit(optimizer.step, donate_argnums=(0, 2))


def _like(state: Any, params: dict[str, Any]) -> Any:
    """The first dict in the state with the names and shapes of the parameters."""
    if isinstance(state, dict) and state.keys() == params.keys():
        if all(getattr(state[n], "shape", None) == x.shape for n, x in params.items()):
            return state
        return None
    if isinstance(state, tuple):
        return next((t for t in (_like(s, params) for s in state) if t is not None), None)
    return None


def _replaced(state: Any, params: dict[str, Any], momentum: dict[str, Any]) -> Any:
    """The state with that dict replaced."""
    wanted = _like(state, params)

    def replace(node: Any) -> Any:
        if node is wanted:
            return momentum
        if isinstance(node, tuple):
            parts = [replace(part) for part in node]
            return type(node)(*parts) if hasattr(node, "_fields") else tuple(parts)
        return node

    return replace(state)


def _arrays(tree: dict[str, Any]) -> dict[str, NDArray[Any]]:
    return {n: np.array(x) for n, x in tree.items()}
