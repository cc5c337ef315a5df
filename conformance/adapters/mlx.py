"""``mlx.optimizers.Optimizer`` classes, lion_ports' and others'."""

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map
from numpy.typing import NDArray

from lion_ports import reference
from lion_ports.config import LionConfig
from lion_ports.conformance.adapters.mlx_groups import grouped
from lion_ports.conformance.adapters.target import Adapter, Target, TargetError, settings_of
from lion_ports.conformance.bits import DTYPES
from lion_ports.conformance.protocol import Arrays, UnsupportedError
from lion_ports.conformance.trial import Group
from lion_ports.mlx.arithmetic import compute_dtype
from lion_ports.mlx.state import export_state, from_numpy, import_state, to_numpy
from lion_ports.state import PortableState


def adapt(target: Target, device: str) -> Adapter:
    """Fresh optimizers of the class that the target names, on the MLX cpu or gpu."""
    if device not in ("cpu", "gpu") or not mx.is_available(getattr(mx, device)):
        raise TargetError(f"--device {device} is not there for MLX; it has cpu and, on a Mac, gpu")
    mx.set_default_device(getattr(mx, device))
    target.load()
    tiny = mx.array(2.0**-130) * mx.array(1.5)
    return Adapter(target, lambda: Mlx(target), device=device, flushes=bool(tiny.item() == 0))


class Mlx:
    """One optimizer over a flat tree of parameters."""

    offers = ("groups", "frozen", "compiled")

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
        """Make the optimizer; a mask becomes a predicate on the path."""
        on_gpu = mx.default_device() == mx.Device(mx.gpu)
        if on_gpu and any(x.dtype == np.float64 for x in params.values()):
            raise UnsupportedError("float64, which MLX has on the cpu alone")
        self._compiled = self._target.compiled or compiled is not None
        if self._compiled and settings.get("nonfinite") == "raise":
            raise UnsupportedError("nonfinite='raise' inside mx.compile, which hides all values")
        settings = dict(settings)
        self._momentum_dtype = settings.get("momentum_dtype")
        self._averages = settings.get("ema_decay") is not None
        if mask is not None:
            settings["mask"] = lambda path, parameter: mask[path]
        self._parts = grouped(self._target, groups, settings)
        self._optimizer = self._parts.optimizer
        self._params = {n: from_numpy(x, n) for n, x in params.items()}
        self._traces = 0
        if frozen is not None:
            self._optimizer.init({n: x for n, x in self._params.items() if n not in frozen})
        self._bind()

    def _bind(self) -> None:
        """The step on the optimizer's state as it is now."""
        self._step = self._apply
        if self._compiled:
            self._optimizer.init(self._params)  # mx.compile wants the whole state beforehand
            state = [self._optimizer.state]
            self._step = mx.compile(self._apply, inputs=state, outputs=state)

    def _apply(self, grads: Any, params: Any) -> Any:
        self._traces += 1
        return self._optimizer.apply_gradients(grads, params)

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
        if self._compiled and not self._target.ours and "weight_decay" in settings:
            raise UnsupportedError("a weight decay that changes inside mx.compile")
        self._parts.change(index, settings)

    def freeze(self, names: frozenset[str]) -> None:
        """Begin a state for all parameters but these, as for ``model.trainable_parameters()``."""
        self._optimizer.init({n: x for n, x in self._params.items() if n not in names})

    def compilations(self) -> int:
        """How often the step was traced."""
        return self._traces

    def step(self, grads: Mapping[str, NDArray[Any] | None], lr: float) -> None:
        """Make one update of the parameters that have a gradient."""
        present = {n: from_numpy(g, n) for n, g in grads.items() if g is not None}
        self._parts.set_rate(lr)
        self._params |= self._step(present, self._params)
        mx.eval(self._params, self._optimizer.state)

    def params(self) -> dict[str, NDArray[Any]]:
        """The parameters now."""
        return {n: to_numpy(x) for n, x in self._params.items()}

    def momentum(self) -> dict[str, NDArray[Any]] | None:
        """The momentum in the optimizer's state; zeros before there is one, None if not found."""
        found = {}
        for name, x in self._params.items():
            state = self._parts.state(name)
            same = {k: v for k, v in state.items() if v.shape == x.shape}
            if not state:
                found[name] = np.zeros(x.shape, self._storage(to_numpy(x).dtype))
            elif not same:
                return None
            else:
                found[name] = _decoded(to_numpy(same.get("m", next(iter(same.values())))), state)
        return found

    def average(self) -> dict[str, NDArray[Any]] | None:
        """The averages in the optimizer's state: the parameters themselves before there are any."""
        if not self._averages:
            return None
        found = {}
        for name, x in self._params.items():
            wide = x if x.dtype == mx.complex64 else x.astype(compute_dtype(x.dtype))
            found[name] = to_numpy(self._optimizer.state.get(name, {}).get("average", wide))
        return found

    def _storage(self, dtype: Any) -> Any:
        """Of a momentum that has not been made yet."""
        if self._momentum_dtype is None or dtype.kind == "c":
            return dtype
        return np.float32 if self._momentum_dtype == "int8" else DTYPES[self._momentum_dtype]

    def save(self) -> Any:
        """Parameters, and the optimizer's whole state."""
        return self._params, tree_map(mx.array, self._optimizer.state)

    def restore(self, saved: Any) -> None:
        """Go on from what ``save`` gave."""
        params, self._optimizer.state = saved
        self._params = dict(params)
        self._bind()

    def export(self) -> PortableState:
        """The state as L-030 has it."""
        self._optimizer.init(self._params)
        return export_state(self._params, self._optimizer)

    def adopt(self, state: PortableState) -> None:
        """Go on from such a state."""
        self._optimizer.init(self._params)
        self._params = import_state(state, self._params, self._optimizer)


def _decoded(momentum: NDArray[Any], state: Mapping[str, Any]) -> NDArray[Any]:
    """What the codes of an int8 momentum stand for (L-031); any other as it is."""
    if "m_scale" not in state:
        return momentum
    return reference.decode(momentum, to_numpy(state["m_scale"]))
