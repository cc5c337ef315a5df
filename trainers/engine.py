"""What the loop asks of a framework, and where the three frameworks are looked up."""

import importlib
import importlib.util
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, cast

from numpy.typing import NDArray

from lion_ports.errors import install_command
from lion_ports.trainers.architecture import Architecture
from lion_ports.trainers.errors import BackendError

Tensors = dict[str, NDArray[Any]]
"""Canonical name -> array: float32, or bfloat16 of ml_dtypes; in a state int8 and int16 too."""


class StepResult(NamedTuple):
    """One training step as Python numbers.

    ``loss`` (nats a token) and ``grad_norm`` (global, before clipping) are those before the
    update; ``nonfinite`` names the tensors whose gradient had NaN or infinity (or overflowed
    float32 when squared). If it is not empty, nothing was updated. ``gradients`` are those that the
    optimizer was given, after clipping, of a step that was asked to keep them.
    """

    loss: float
    grad_norm: float
    nonfinite: tuple[str, ...]
    gradients: Tensors | None = None


@dataclass(frozen=True)
class EngineSettings:
    """All that an engine needs to know besides the weights.

    Args:
        architecture: the model.
        optimizer: ``"lion"``, ``"signum"`` (Lion with equal betas) or ``"adamw"``.
        betas: for either optimizer.
        weight_decay: for matrices only.
        clip: largest global gradient norm; 0 clips nothing.
        device: ``"auto"``, ``"cpu"``, ``"gpu"``, ``"mps"`` or ``"tpu"``.
        dtype: of parameters and moments, ``"float32"`` or ``"bfloat16"``.
        compile: let the framework compile the step.
        momentum_dtype: of Lion's momentum, if another: ``"float32"``, ``"bfloat16"``, ``"int8"``.
        correction_bits: 8 or 16, kept beside each bfloat16 parameter (L-032).
    """

    architecture: Architecture
    optimizer: str
    betas: tuple[float, float]
    weight_decay: float
    clip: float
    device: str = "auto"
    dtype: str = "float32"
    compile: bool = True
    momentum_dtype: Literal["float32", "bfloat16", "int8"] | None = None
    correction_bits: Literal[8, 16] | None = None


class Engine(Protocol):
    """A model and its optimizer on one framework.

    Tokens are int32 arrays ``[B, T + 1]`` where a loss is computed (the last T are predicted from
    those before them) and ``[B, T]`` where logits are.

    ``notes`` are warnings at the head of a run; ``first_step`` says why the first step takes longer
    than the others, "" if nothing is compiled for it.
    """

    device: str
    notes: tuple[str, ...]
    first_step: str

    def train_step(self, tokens: NDArray[Any], lr: float, record: bool = False) -> StepResult:
        """Gradient, clipping, finiteness guard and update; ``record`` returns the gradients."""

    def loss(self, tokens: NDArray[Any]) -> float:
        """Mean cross-entropy, nats a token."""

    def logits(self, tokens: NDArray[Any]) -> NDArray[Any]:
        """float32 ``[B, T, V]``."""

    def gradients(self, tokens: NDArray[Any]) -> Tensors:
        """Of the mean loss, before clipping, under canonical names."""

    def parameters(self) -> Tensors:
        """A copy of the weights."""

    def optimizer_state(self) -> Tensors:
        """A copy: Lion's momentum under canonical names, all else under a prefix and these."""

    def load(self, parameters: Tensors, optimizer_state: Tensors, updates: int) -> None:
        """Put weights, optimizer state and the count of updates in place."""


ADAMW_EPSILON = 1e-8


class _Backend(NamedTuple):
    title: str
    packages: tuple[str, ...]


BACKENDS = {
    "mlx": _Backend("MLX", ("mlx",)),
    "torch": _Backend("PyTorch", ("torch",)),
    "jax": _Backend("JAX", ("jax", "optax", "equinox")),
}


def available(backend: str) -> bool:
    """Whether the packages of ``backend`` are installed; imports none of them."""
    return all(importlib.util.find_spec(name) is not None for name in BACKENDS[backend].packages)


def best_backend() -> str:
    """MLX on Apple silicon, else the first of PyTorch, JAX and MLX that is installed.

    Raises:
        BackendError: if none is.
    """
    order = ["torch", "jax", "mlx"]
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        order = ["mlx", "torch", "jax"]
    for backend in order:
        if available(backend):
            return backend
    raise BackendError(
        f"no backend is installed; install one of the three: {install_command(*order)}"
    )


def backend_module(backend: str) -> Any:
    """Import ``lion_ports.trainers.<backend>.engine``.

    Raises:
        BackendError: with the reason and the pip command, if the framework is not there.
    """
    title = BACKENDS[backend].title
    if not available(backend):
        missing = [p for p in BACKENDS[backend].packages if importlib.util.find_spec(p) is None]
        raise BackendError(
            f"the {title} backend needs {', '.join(missing)}, not installed here: "
            f"{install_command(backend)}"
        )
    try:
        return importlib.import_module(f"lion_ports.trainers.{backend}.engine")
    except ImportError as error:
        if error.name is not None and error.name.startswith("lion_ports"):
            raise
        raise BackendError(
            f"{title} is installed but does not import ({error}): {install_command(backend)}"
        ) from error


def build_engine(backend: str, settings: EngineSettings, parameters: Mapping[str, Any]) -> Engine:
    """The engine of ``backend`` with these weights and a fresh optimizer state.

    Raises:
        BackendError: if the framework is missing.
        UsageError: if the device is.
    """
    return cast(Engine, backend_module(backend).build(settings, parameters))
