"""The engine on MLX."""

from collections.abc import Callable
from functools import partial
from typing import Any

import ml_dtypes
import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx import optimizers
from mlx.utils import tree_flatten, tree_unflatten
from numpy.typing import NDArray

from lion_ports.mlx import Lion
from lion_ports.trainers.architecture import check_tensors, decays
from lion_ports.trainers.engine import (
    ADAMW_EPSILON,
    EngineSettings,
    StepResult,
    Tensors,
)
from lion_ports.trainers.errors import UsageError
from lion_ports.trainers.mlx import blas
from lion_ports.trainers.mlx.model import Transformer, loss
from lion_ports.trainers.slots import ADAMW_PREFIXES, CORRECTION, MOMENTUM, SCALE, loaded, slots


def build(settings: EngineSettings, parameters: Tensors) -> "MlxEngine":
    """See ``lion_ports.trainers.engine.build_engine``."""
    return MlxEngine(settings, parameters)


class MlxEngine:
    """One compiled step that updates the model's and the optimizer's arrays in place."""

    def __init__(self, settings: EngineSettings, parameters: Tensors) -> None:
        device = pick_device(settings.device)
        mx.set_default_device(device)
        self.device = "gpu" if device == mx.Device(mx.gpu) else "cpu"
        self.notes: tuple[str, ...] = ()
        if self.device == "cpu" and blas.slow():
            self.notes = (f"MLX multiplies with {blas.description()}",)
        elif self.device == "cpu" and settings.dtype == "bfloat16" and blas.slow_bfloat16():
            self.notes = ("MLX multiplies bfloat16 several times as slowly as float32 on a CPU",)
        self.first_step = "MLX compiles kernels for some seconds, or has them from an earlier run"
        self._settings = settings
        self._shapes = settings.architecture.shapes()
        self._model = Transformer(settings.architecture)
        self._value_and_grad = nn.value_and_grad(self._model, partial(loss, self._model))
        self._put(parameters)
        self._fresh_optimizer()

    def train_step(self, tokens: NDArray[Any], lr: float, record: bool = False) -> StepResult:
        self._optimizer.learning_rate = lr
        value, squares, gradients = (self._recording if record else self._step)(mx.array(tokens))
        mx.eval(value, squares, gradients, self._model, self._optimizer.state)
        squared = to_numpy(squares)
        norm = float(mx.sqrt(squares.sum()))
        bad = [] if np.isfinite(norm) else ~np.isfinite(squared)
        names = tuple(name for name, is_bad in zip(self._order, bad, strict=False) if is_bad)
        return StepResult(float(value), norm, names, named(gradients) if record else None)

    def loss(self, tokens: NDArray[Any]) -> float:
        return float(self._loss(mx.array(tokens)))

    def logits(self, tokens: NDArray[Any]) -> NDArray[Any]:
        return to_numpy(self._model(mx.array(tokens)))

    def gradients(self, tokens: NDArray[Any]) -> Tensors:
        return named(self._value_and_grad(mx.array(tokens))[1])

    def parameters(self) -> Tensors:
        return named(self._model.parameters())

    def optimizer_state(self) -> Tensors:
        state = flat(self._optimizer.state)
        return {
            prefix + name: to_numpy(state[f"{name}.{_KEYS[prefix]}"])
            for prefix, named in slots(self._settings).items()
            for name in named
        }

    def load(self, parameters: Tensors, optimizer_state: Tensors, updates: int) -> None:
        self._put(parameters)
        self._fresh_optimizer()
        if updates == 0:
            return
        state = {
            f"{name}.{_KEYS[prefix]}": mx.array(tensor)
            for prefix, named in loaded(optimizer_state, self._settings).items()
            for name, tensor in named.items()
        }
        state["step"] = mx.array(updates, self._optimizer.state["step"].dtype)
        _assign(self._optimizer.state, state)

    def _put(self, parameters: Tensors) -> None:
        check_tensors(parameters, self._shapes)
        dtype = getattr(mx, self._settings.dtype)
        arrays = [(n, mx.array(t).astype(dtype)) for n, t in parameters.items()]
        self._model.update(tree_unflatten(arrays))
        mx.eval(self._model.parameters())

    def _fresh_optimizer(self) -> None:
        """The optimizer, and the compiled functions that hold on to its arrays."""
        self._optimizer = _optimizer(self._settings)
        self._optimizer.init(self._model.trainable_parameters())
        self._order = list(flat(self._model.trainable_parameters()))
        self._step: Callable[..., Any] = self._training_step
        self._recording: Callable[..., Any] = partial(self._training_step, record=True)
        self._loss: Callable[..., Any] = partial(loss, self._model)
        if self._settings.compile:
            state = [self._model.state, self._optimizer.state]
            self._step = mx.compile(self._step, inputs=state, outputs=state)
            self._recording = mx.compile(self._recording, inputs=state, outputs=state)
            self._loss = mx.compile(self._loss, inputs=[self._model.state])

    def _training_step(
        self, tokens: mx.array, record: bool = False
    ) -> tuple[mx.array, mx.array, dict[str, Any]]:
        value, gradients = self._value_and_grad(tokens)
        named_gradients = flat(gradients)
        squares = mx.stack(
            [mx.square(g.astype(mx.float32)).sum(-1).sum() for g in named_gradients.values()]
        )
        norm = mx.sqrt(squares.sum())
        if self._settings.clip > 0:
            scale = self._settings.clip / mx.maximum(norm, self._settings.clip)
            gradients = tree_unflatten(
                [(n, g * scale.astype(g.dtype)) for n, g in named_gradients.items()]
            )
        parameters = flat(self._model.trainable_parameters())
        state = flat(self._optimizer.state)
        self._optimizer.update(self._model, gradients)
        finite = mx.isfinite(norm)
        updated = flat(self._model.trainable_parameters())
        self._model.update(
            tree_unflatten([(n, mx.where(finite, p, parameters[n])) for n, p in updated.items()])
        )
        updated = flat(self._optimizer.state)
        _assign(
            self._optimizer.state,
            {n: mx.where(finite, leaf, state[n]) for n, leaf in updated.items()},
        )
        return value, squares, gradients if record else {}


class _AdamW(optimizers.AdamW):
    """MLX's AdamW, with bias correction, that decays the matrices only."""

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]
    ) -> mx.array:
        if not decays(tuple(parameter.shape)):
            new: mx.array = optimizers.Adam.apply_single(self, gradient, parameter, state)
        else:
            new = super().apply_single(gradient, parameter, state)
        return new


def _optimizer(settings: EngineSettings) -> optimizers.Optimizer:
    if settings.optimizer == "adamw":
        return _AdamW(
            0.0,
            betas=list(settings.betas),
            eps=ADAMW_EPSILON,
            weight_decay=settings.weight_decay,
            bias_correction=True,
        )
    return Lion(
        0.0,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        momentum_dtype=settings.momentum_dtype,
        correction_bits=settings.correction_bits,
        mask=lambda _, parameter: decays(tuple(parameter.shape)),
    )


def _assign(tree: Any, leaves: dict[str, mx.array]) -> None:
    """Replace leaves inside ``tree``, which a compiled function holds and must not lose."""
    for name, leaf in leaves.items():
        *path, last = name.split(".")
        place = tree
        for key in path:
            place = place[int(key)] if isinstance(place, list) else place[key]
        place[last] = leaf


def pick_device(name: str) -> mx.Device:
    """The device that ``--device`` names.

    Raises:
        UsageError: if this machine or this build of MLX has none.
    """
    if name == "cpu":
        return mx.Device(mx.cpu)
    gpu = mx.Device(mx.gpu)
    if mx.is_available(gpu) and name in ("auto", "gpu"):
        return gpu
    if name == "auto":
        return mx.Device(mx.cpu)
    found = "cpu, gpu" if mx.is_available(gpu) else "cpu"
    raise UsageError(f"--device {name}: MLX sees here only {found}")


def named(tree: Any) -> Tensors:
    """Canonical name -> copy, from a tree in the shape of the model."""
    return {name: to_numpy(leaf) for name, leaf in flat(tree).items()}


def flat(tree: Any) -> dict[str, mx.array]:
    """Dotted name -> leaf."""
    leaves: Any = tree_flatten(tree)
    return dict(leaves)


def to_numpy(array: mx.array) -> NDArray[Any]:
    """A copy of ``array``; bfloat16 stays bfloat16."""
    if array.dtype == mx.bfloat16:
        return np.array(array.view(mx.uint16)).view(ml_dtypes.bfloat16)
    return np.array(array)


_KEYS = {MOMENTUM: "m", SCALE: "m_scale", CORRECTION: "correction"} | dict(
    zip(ADAMW_PREFIXES, ("m", "v"), strict=True)
)
