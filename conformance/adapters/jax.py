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
from lion_ports.conformance.adapters.jax_groups import (
    arrays,
    injected,
    momentum_in,
    numbers_of,
    own_numbers,
    partitioned,
    with_numbers,
)
from lion_ports.conformance.adapters.target import Adapter, Target, TargetError, settings_of
from lion_ports.conformance.protocol import Arrays, UnsupportedError
from lion_ports.conformance.trial import Group
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

    offers: tuple[str, ...] = ("groups", "frozen", "compiled")

    def __init__(self, target: Target) -> None:
        self._target = target

    def construct(
        self,
        params: Arrays,
        settings: Mapping[str, Any],
        mask: Any,
        *,
        groups: tuple[Group, ...] = (),
        frozen: frozenset[str] | None = None,
        compiled: str | None = None,
    ) -> None:
        """Make the transform; JAX needs its x64 mode for float64."""
        self._x64 = any(x.dtype in (np.float64, np.complex128) for x in params.values())
        settings = dict(settings)
        self._scheduled = callable(settings["lr"])
        if "betas" in settings and "betas" not in self._target.rename:
            settings["b1"], settings["b2"] = settings.pop("betas")
        if mask is not None:
            settings["mask"] = dict(mask)
        self._frozen = frozen if frozen is not None and not self._target.ours else frozenset()
        self._groups = groups
        if self._frozen and not groups:
            self._groups = (Group(tuple(params)),)
        self._own = [own_numbers(group) for group in self._groups]
        self._traces = 0
        with jax.enable_x64(self._x64):
            self._build(settings)
            self._params = {n: jnp.asarray(x) for n, x in params.items()}
            self._state = self._init(self._params)

    def _build(self, settings: dict[str, Any]) -> None:
        for option in ("ema_overwrite_every", "correction_bits"):
            if self._target.ours and option in settings:
                raise UnsupportedError(f"option {option}")  # only fused_lion can

        def make(**settings: Any) -> Any:
            return self._target.make(names=_NAMES, **settings)

        dtype = jnp.float64 if self._x64 else jnp.float32
        optimizer = make(
            **settings
        )  # with the number itself, which the transform may want to check
        if self._groups:
            optimizer = partitioned(make, settings, self._groups, self._frozen, dtype)
        elif not self._scheduled:
            optimizer = injected(make, settings, changing=False, dtype=dtype)

        def step(params: Any, grads: Any, state: Any, numbers: Any) -> Any:
            self._traces += 1
            if not self._scheduled:
                state = with_numbers(state, numbers)
            updates, state = optimizer.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        self._init = optimizer.init
        self._step: Any = jax.jit(step)

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

    def change(self, index: int, settings: Mapping[str, Any]) -> None:
        """Give a group other settings."""
        self._own[index] |= numbers_of(settings)

    def freeze(self, names: frozenset[str]) -> None:
        """What is frozen has no gradient; the label of a parameter is for good."""
        if not self._target.ours:
            raise UnsupportedError("parameters that are frozen for a while")

    def compilations(self) -> int:
        """How often the step was traced."""
        return self._traces

    def step(self, grads: Mapping[str, NDArray[Any] | None], lr: float) -> None:
        """Make one update."""
        missing = {n for n, g in grads.items() if g is None} - self._frozen
        if not self._target.ours and missing:
            raise UnsupportedError("a parameter without a gradient")
        with jax.enable_x64(self._x64):
            gs = {n: None if g is None else jnp.asarray(g) for n, g in grads.items()}
            gs |= {n: jnp.zeros_like(self._params[n]) for n in self._frozen}
            dtype = jnp.float64 if self._x64 else jnp.float32
            by_label = {str(k): own for k, own in enumerate(self._own)} or {"": {}}
            numbers = {
                label: {n: jnp.asarray(v, dtype) for n, v in {"learning_rate": lr, **own}.items()}
                for label, own in by_label.items()
            }
            self._params, self._state = self._step(self._params, gs, self._state, numbers)

    def params(self) -> dict[str, NDArray[Any]]:
        """The parameters now."""
        return arrays(self._params)

    def momentum(self) -> dict[str, NDArray[Any]] | None:
        """What the state holds that looks like the parameters, or None."""
        tree = momentum_in(self._state, self._params, self._groups, self._frozen)
        return None if tree is None else _decoded(arrays(tree), self._state)

    def average(self) -> dict[str, NDArray[Any]] | None:
        """The averages in the state of a lion_ports transform that keeps them."""
        states = jax.tree.leaves(self._state, is_leaf=lambda node: isinstance(node, LionState))
        found = [s.average for s in states if isinstance(s, LionState) and s.average is not None]
        return arrays(found[0]) if found else None

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
    """lion_ports' in-place step, which has no groups."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._eager = target.spec.endswith("+eager")
        self.offers = ("frozen",) if self._eager else ("frozen", "compiled")

    def _build(self, settings: dict[str, Any]) -> None:
        optimizer = self._target.make(names=_NAMES, **settings)
        # What is donated to a step that raises is gone.
        donated = () if settings.get("nonfinite") == "raise" else (0, 2)

        def step(params: Any, grads: Any, state: Any, numbers: Any) -> Any:
            self._traces += 1
            lr = None if self._scheduled else numbers[""]["learning_rate"]
            return optimizer.step(params, grads, state, lr)

        self._init = optimizer.init
        self._step = step if self._eager else jax.jit(step, donate_argnums=donated)


def _decoded(momentum: dict[str, NDArray[Any]], state: Any) -> dict[str, NDArray[Any]]:
    """What the codes of an int8 momentum stand for (L-031); any other as it is."""
    nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, LionState))
    scales = next((node.mu_scale or {} for node in nodes if isinstance(node, LionState)), {})
    return {
        n: reference.decode(m, np.array(scales[n])) if m.dtype == np.int8 else m
        for n, m in momentum.items()
    }
