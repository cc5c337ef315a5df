"""Optax transforms, lion_ports' and others', and lion_ports' fused step."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from lion_ports import reference
from lion_ports.config import LionConfig
from lion_ports.conformance.adapters.target import Adapter, Target, TargetError, settings_of
from lion_ports.conformance.protocol import Arrays, UnsupportedError
from lion_ports.errors import StateError
from lion_ports.jax import LionState, export_state, import_state
from lion_ports.state import PortableState

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

    def construct(self, params: Arrays, settings: Mapping[str, Any], mask: Any) -> None:
        """Make the transform; JAX needs its x64 mode for float64."""
        self._x64 = any(x.dtype in (np.float64, np.complex128) for x in params.values())
        settings = dict(settings)
        self._scheduled = callable(settings["lr"])
        if "betas" in settings and "betas" not in self._target.rename:
            settings["b1"], settings["b2"] = settings.pop("betas")
        if mask is not None:
            settings["mask"] = dict(mask)
        with jax.enable_x64(self._x64):
            self._build(settings)
            self._params = {n: jnp.asarray(x) for n, x in params.items()}
            self._state = self._init(self._params)

    def _build(self, settings: dict[str, Any]) -> None:
        for option in ("ema_overwrite_every", "correction_bits"):
            if self._target.ours and option in settings:
                raise UnsupportedError(f"option {option}")  # only fused_lion can
        lr = settings.pop("lr")

        def transform(learning_rate: Any) -> Any:
            return self._target.make(names=_NAMES, lr=learning_rate, **settings)

        optimizer = transform(lr)  # with the number itself, which the transform may want to check
        if not self._scheduled:
            # Without a dtype it would take that of the gradients, bfloat16 or complex.
            dtype = jnp.float64 if self._x64 else jnp.float32
            inject = optax.inject_hyperparams(transform, hyperparam_dtype=dtype)
            optimizer = inject(learning_rate=lr)

        def step(params: Any, grads: Any, state: Any, lr: Any) -> Any:
            if not self._scheduled:
                state = state._replace(hyperparams={**state.hyperparams, "learning_rate": lr})
            updates, state = optimizer.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        self._init = optimizer.init
        self._step: Any = jax.jit(step)

    def start(
        self, params: Arrays, config: LionConfig, mask: Any = None, *, defaults: bool = False
    ) -> None:
        """Take parameters and settings."""
        self.construct(params, settings_of(config, defaults=defaults), mask)

    def step(self, grads: Mapping[str, NDArray[Any] | None], lr: float) -> None:
        """Make one update."""
        if not self._target.ours and any(g is None for g in grads.values()):
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
        return None if tree is None else _decoded(_arrays(tree), self._state)

    def average(self) -> dict[str, NDArray[Any]] | None:
        """The averages in the state of a lion_ports transform that keeps them."""
        states = jax.tree.leaves(self._state, is_leaf=lambda node: isinstance(node, LionState))
        found = [s.average for s in states if isinstance(s, LionState) and s.average is not None]
        return _arrays(found[0]) if found else None

    def save(self) -> Any:
        """Parameters and the whole state, as NumPy arrays."""
        return jax.tree.map(np.array, (self._params, self._state))

    def restore(self, saved: Any) -> None:
        """Go on from what ``save`` gave."""
        with jax.enable_x64(self._x64):
            self._params, self._state = jax.tree.map(jnp.asarray, saved)

    def export(self) -> PortableState:
        """The state as L-030 has it."""
        try:
            return export_state(self._params, self._state)
        except StateError as error:
            raise UnsupportedError("portable state") from error

    def adopt(self, state: PortableState) -> None:
        """Go on from such a state."""
        with jax.enable_x64(self._x64):
            self._params, self._state = import_state(state, self._params, self._state)


class Fused(Optax):
    """lion_ports' in-place step."""

    def _build(self, settings: dict[str, Any]) -> None:
        optimizer = self._target.make(names=_NAMES, **settings)
        # What is donated to a step that raises is gone.
        donated = () if settings.get("nonfinite") == "raise" else (0, 2)

        def step(params: Any, grads: Any, state: Any, lr: Any) -> Any:
            return optimizer.step(params, grads, state, None if self._scheduled else lr)

        self._init = optimizer.init
        self._step = step
        if not self._target.spec.endswith("+eager"):
            self._step = jax.jit(step, donate_argnums=donated)


def _like(state: Any, params: dict[str, Any]) -> Any:
    """The first dict in the state with the names and shapes of the parameters."""
    if isinstance(state, dict) and state.keys() == params.keys():
        if all(getattr(state[n], "shape", None) == x.shape for n, x in params.items()):
            return state
        return None
    if isinstance(state, tuple):
        return next((t for t in (_like(s, params) for s in state) if t is not None), None)
    return None


def _decoded(momentum: dict[str, NDArray[Any]], state: Any) -> dict[str, NDArray[Any]]:
    """What the codes of an int8 momentum stand for (L-031); any other as it is."""
    nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, LionState))
    scales = next((node.mu_scale or {} for node in nodes if isinstance(node, LionState)), {})
    return {
        n: reference.decode(m, np.array(scales[n])) if m.dtype == np.int8 else m
        for n, m in momentum.items()
    }


def _arrays(tree: dict[str, Any]) -> dict[str, NDArray[Any]]:
    return {n: np.array(x) for n, x in tree.items()}
