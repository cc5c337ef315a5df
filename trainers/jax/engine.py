"""The engine on JAX."""

import contextlib
from collections.abc import Callable
from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from numpy.typing import NDArray

from lion_ports.jax import fused_lion
from lion_ports.trainers.architecture import check_tensors, decays
from lion_ports.trainers.engine import (
    ADAMW_EPSILON,
    EngineSettings,
    StepResult,
    Tensors,
)
from lion_ports.trainers.errors import UsageError
from lion_ports.trainers.jax.model import Transformer, loss
from lion_ports.trainers.slots import ADAMW_PREFIXES, CORRECTION, MOMENTUM, SCALE, loaded, slots


def build(settings: EngineSettings, parameters: Tensors) -> "JaxEngine":
    """See ``lion_ports.trainers.engine.build_engine``."""
    return JaxEngine(settings, parameters)


class JaxEngine:
    """One jitted step that owns its buffers: weights and optimizer state are donated to it."""

    def __init__(self, settings: EngineSettings, parameters: Tensors) -> None:
        device = pick_device(settings.device)
        self.device = f"{device.platform}:{device.id}"
        self.notes: tuple[str, ...] = ()
        self.first_step = _compilation(settings.compile)
        self._settings = settings
        self._jax_device = device
        self._shapes = settings.architecture.shapes()
        self._template = eqx.filter_eval_shape(Transformer, settings.architecture)
        self._order = [name for name, _ in _leaves(self._template)]
        self._init, self._step = _training_step(settings, record=False)
        jit = jax.jit if settings.compile else _eager
        self._loss = jit(loss)
        self._logits = jit(Transformer.__call__)
        self._gradients = jit(jax.grad(loss))
        self._model: Any = self._weights(parameters)
        self._state: Any = self._placed(self._init(self._model))

    def train_step(self, tokens: NDArray[Any], lr: float, record: bool = False) -> StepResult:
        step = _training_step(self._settings, record=True)[1] if record else self._step
        self._model, self._state, value, squares, gradients = step(
            self._model, self._state, self._tokens(tokens), np.float32(lr)
        )
        squared = np.asarray(squares)
        norm = float(np.asarray(jnp.sqrt(jnp.sum(squares))))
        bad = [] if np.isfinite(norm) else ~np.isfinite(squared)
        names = tuple(name for name, is_bad in zip(self._order, bad, strict=False) if is_bad)
        return StepResult(float(value), norm, names, named(gradients) if record else None)

    def loss(self, tokens: NDArray[Any]) -> float:
        return float(self._loss(self._model, self._tokens(tokens)))

    def logits(self, tokens: NDArray[Any]) -> NDArray[Any]:
        return to_numpy(self._logits(self._model, self._tokens(tokens)))

    def gradients(self, tokens: NDArray[Any]) -> Tensors:
        return named(self._gradients(self._model, self._tokens(tokens)))

    def parameters(self) -> Tensors:
        return named(self._model)

    def optimizer_state(self) -> Tensors:
        state = self._state[0] if self._settings.optimizer == "adamw" else self._state
        return {
            prefix + name: tensor
            for prefix in slots(self._settings)
            for name, tensor in named(getattr(state, _FIELDS[prefix])).items()
        }

    def load(self, parameters: Tensors, optimizer_state: Tensors, updates: int) -> None:
        self._model = self._weights(parameters)
        state = self._init(self._model)
        if updates > 0:
            kept = {
                _FIELDS[prefix]: self._tree(named)
                for prefix, named in loaded(optimizer_state, self._settings).items()
            }
            kept["count"] = jnp.asarray(updates, jnp.int32)
            if self._settings.optimizer == "adamw":
                state = (state[0]._replace(**kept), *state[1:])
            else:
                state = state._replace(**kept)
        self._state = self._placed(state)

    def _weights(self, parameters: Tensors) -> Any:
        check_tensors(parameters, self._shapes)
        dtype = jnp.dtype(self._settings.dtype)
        return self._tree({name: tensor.astype(dtype) for name, tensor in parameters.items()})

    def _tree(self, tensors: Tensors) -> Any:
        """The arrays in the shape of the model, in buffers of their own (they are donated)."""
        return jax.tree_util.tree_map_with_path(
            lambda path, _: jax.device_put(
                jnp.array(tensors[_name(path)], copy=True), self._jax_device
            ),
            self._template,
        )

    def _placed(self, state: Any) -> Any:
        """On the device as a step leaves it: one that is only there by default, as are scalars that
        are made without a device, is another kind of argument, and the step compiled once more."""
        return jax.device_put(state, self._jax_device)

    def _tokens(self, tokens: NDArray[Any]) -> Array:
        placed: Array = jax.device_put(np.ascontiguousarray(tokens, np.int32), self._jax_device)
        return placed


@cache
def _training_step(
    settings: EngineSettings, *, record: bool
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The optimizer's ``init`` and the step, which equal settings compile once in a process.

    With ``record`` the step returns the gradients too.
    """
    init, update = _optimizer(settings)

    def step(model: Transformer, state: Any, tokens: Array, lr: Array) -> Any:
        value, gradients = jax.value_and_grad(loss)(model, tokens)
        leaves = jax.tree.leaves(gradients)
        squares = jnp.stack([jnp.sum(jnp.square(g.astype(jnp.float32))) for g in leaves])
        norm = jnp.sqrt(jnp.sum(squares))
        if settings.clip > 0:
            scale = settings.clip / jnp.maximum(norm, settings.clip)
            gradients = jax.tree.map(lambda g: g * scale.astype(g.dtype), gradients)
        # Without it XLA hands a bfloat16 product on unrounded, and the optimizer is given gradients
        # that are not those returned, nor those of the other backends.
        gradients = jax.lax.optimization_barrier(gradients)
        updated = update(model, gradients, state, lr)
        finite = jnp.isfinite(norm)
        kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), updated, (model, state))
        return *kept, value, squares, gradients if record else None

    return init, jax.jit(step, donate_argnums=(0, 1)) if settings.compile else step


def _optimizer(settings: EngineSettings) -> tuple[Callable[..., Any], ...]:
    """``init(params)`` and ``update(params, gradients, state, lr) -> (params, state)``."""

    def mask(params: Any) -> Any:  # a function, for the model itself would be taken for one
        return jax.tree.map(lambda leaf: decays(leaf.shape), params)

    b1, b2 = settings.betas
    if settings.optimizer != "adamw":
        lion = fused_lion(
            b1=b1,
            b2=b2,
            mu_dtype=settings.momentum_dtype,
            weight_decay=settings.weight_decay,
            mask=mask,
            correction_bits=settings.correction_bits,
        )
        return lion.init, lambda p, g, state, lr: lion.step(p, g, state, lr=lr)

    # At a learning rate of 1 the transformation returns the step itself, to be scaled by lr.
    adamw = optax.adamw(
        1.0, b1=b1, b2=b2, eps=ADAMW_EPSILON, weight_decay=settings.weight_decay, mask=mask
    )

    def update(params: Any, gradients: Any, state: Any, lr: Array) -> Any:
        steps, state = adamw.update(gradients, state, params)
        scaled = jax.tree.map(lambda s: s * lr.astype(s.dtype), steps)
        return optax.apply_updates(params, scaled), state

    return adamw.init, update


def _compilation(compiled: bool) -> str:
    """Why a first step is slow: without a folder for it JAX keeps nothing for the next run."""
    what = "the step" if compiled else "each operation"
    config: Any = jax.config  # whose types do not have its settings
    if folder := config.jax_compilation_cache_dir:
        return f"JAX compiles {what} for some seconds, or takes it from {folder}"
    return (
        f"JAX compiles {what} for some seconds, in every run; "
        "JAX_COMPILATION_CACHE_DIR=FOLDER keeps it for the next"
    )


def _eager(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def pick_device(name: str) -> Any:
    """The device that ``--device`` names.

    Raises:
        UsageError: if this machine or this build of JAX has none.
    """
    if name == "auto":
        return jax.devices()[0]
    with contextlib.suppress(RuntimeError):
        return jax.devices(name)[0]
    found = ", ".join(sorted({device.platform for device in jax.devices()}))
    raise UsageError(f"--device {name}: JAX sees here only {found}")


def named(tree: Any) -> Tensors:
    """Canonical name -> copy, from a tree in the shape of the model."""
    return {name: to_numpy(leaf) for name, leaf in _leaves(tree)}


def to_numpy(array: Array) -> NDArray[Any]:
    """A copy of ``array``; bfloat16 stays bfloat16."""
    return np.array(array, copy=True)


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(_name(path), leaf) for path, leaf in leaves]


def _name(path: tuple[Any, ...]) -> str:
    return ".".join(str(getattr(key, "name", getattr(key, "idx", None))) for key in path)


_FIELDS = {MOMENTUM: "mu", SCALE: "mu_scale", CORRECTION: "correction"} | dict(
    zip(ADAMW_PREFIXES, ("mu", "nu"), strict=True)
)
