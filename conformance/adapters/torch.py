"""``torch.optim.Optimizer`` classes, lion_ports' and others'."""

import io
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lion_ports.config import LionConfig
from lion_ports.conformance.adapters.target import Adapter, Target, TargetError, settings_of
from lion_ports.conformance.adapters.torch_groups import CompiledStep, assign, param_groups
from lion_ports.conformance.protocol import Arrays, UnsupportedError
from lion_ports.conformance.trial import Group
from lion_ports.state import PortableState
from lion_ports.torch import export_state, import_state
from lion_ports.torch.arithmetic import compute_dtype
from lion_ports.torch.storage import decode

_MOMENTUM_KEYS = ("exp_avg", "momentum", "momentum_buffer", "m")


def adapt(target: Target, device: str) -> Adapter:
    """Fresh optimizers of the class that the target names, on a torch device."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TargetError(f"--device {device} is not there for torch ({error})") from error
    target.load()
    tiny = torch.tensor([1e-40], device=device) * torch.ones(1, device=device)
    return Adapter(
        target, lambda: Torch(target, device), device=device, flushes=bool(tiny.item() == 0)
    )


class Torch:
    """One optimizer over named parameters."""

    offers = ("groups", "frozen", "tied", "compiled")

    def __init__(self, target: Target, device: str) -> None:
        self._target, self._device = target, device

    def construct(
        self,
        params: Arrays,
        settings: Mapping[str, Any],
        mask: Any,
        *,
        groups: tuple[Group, ...] = (),
        frozen: frozenset[str] = frozenset(),
        tied: tuple[str, ...] = (),
        compiled: str | None = None,
    ) -> None:
        """Make the optimizer; a mask becomes two parameter groups."""
        self._params = {
            n: torch.nn.Parameter(_tensor(x, self._device), requires_grad=False)
            for n, x in params.items()
        }
        self._params |= {name: self._params[tied[0]] for name in tied}
        self.freeze(frozen)
        self._scheduled = callable(settings["lr"])
        if self._target.compiled and not self._scheduled:
            settings = {**settings, "lr": torch.tensor(settings["lr"], dtype=torch.float64)}
        self._averages = settings.get("ema_decay") is not None
        self._own_rate = ["lr" in group.settings for group in groups]
        self._optimizer = self._target.make(param_groups(self._params, mask, groups), **settings)
        self._step: Any = self._optimizer.step
        self._compiled = self._target.compiled or compiled is not None
        if self._compiled:
            code = self._target.compiled or compiled == "whole"
            self._step = CompiledStep(self._optimizer.step, code=code)

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
        """Train all parameters but these."""
        for name, p in self._params.items():
            p.requires_grad_(name not in names and (p.is_floating_point() or p.is_complex()))

    def change(self, index: int, settings: Mapping[str, Any]) -> None:
        """Give a group other settings."""
        assign(self._optimizer.param_groups[index], settings)

    def compilations(self) -> int:
        """How many graphs were compiled."""
        return int(self._step.graphs)

    def step(self, grads: Mapping[str, NDArray[Any] | None], lr: float) -> None:
        """Make one update."""
        for name, g in grads.items():
            self._set_gradient(self._params[name], g)
        for i, group in enumerate([] if self._scheduled else self._optimizer.param_groups):
            if not (self._own_rate and self._own_rate[i]):
                assign(group, {"lr": lr})
        self._step()

    def _set_gradient(self, p: Any, g: NDArray[Any] | None) -> None:
        p.grad = None
        if g is None:
            return
        gradient = _tensor(g, self._device)
        if gradient.dtype != p.dtype:
            if self._compiled or not hasattr(p, "grad_dtype"):
                raise UnsupportedError(
                    "a gradient of another dtype, which torch does not allow here"
                )
            p.grad_dtype = None
        p.grad = gradient

    def gradients(self) -> dict[str, NDArray[Any] | None]:
        """The gradients as the step left them."""
        return {n: None if p.grad is None else _array(p.grad) for n, p in self._params.items()}

    def params(self) -> dict[str, NDArray[Any]]:
        """The parameters now."""
        return {n: _array(p) for n, p in self._params.items()}

    def momentum(self) -> dict[str, NDArray[Any]] | None:
        """The momentum in the optimizer's state; zeros before there is one, None if not found."""
        found = {}
        for name, p in self._params.items():
            state = self._optimizer.state.get(p, {})
            same = {k: v for k, v in state.items() if isinstance(v, Tensor) and v.shape == p.shape}
            keys = [k for k in _MOMENTUM_KEYS if k in same] or list(same)
            if keys:
                found[name] = _array(_decoded(same[keys[0]], state))
            elif state:
                return None
            else:
                found[name] = np.zeros(p.shape, self._storage(p))
        return found

    def average(self) -> dict[str, NDArray[Any]] | None:
        """The averages in the optimizer's state: the parameters themselves before there are any."""
        if not self._averages:
            return None
        found = {}
        for name, p in self._params.items():
            average = self._optimizer.state.get(p, {}).get("average")
            wide = compute_dtype(p.dtype) if not p.is_complex() else p.dtype
            found[name] = _array(p.to(wide) if average is None else average)
        return found

    def _storage(self, p: Tensor) -> Any:
        asked = self._optimizer.defaults.get("momentum_dtype")
        dtype = _array(p).dtype
        if asked is None or p.is_complex():
            return dtype
        wide = "float32" if asked == "int8" else asked  # codes are shown decoded
        return ml_dtypes.bfloat16 if asked == "bfloat16" else np.dtype(wide)

    def save(self) -> Any:
        """Parameters and ``state_dict``, the latter through a file and ``weights_only``."""
        file = io.BytesIO()
        torch.save(self._optimizer.state_dict(), file)
        file.seek(0)
        return self.params(), torch.load(file, weights_only=True)

    def restore(self, saved: Any) -> None:
        """Go on from what ``save`` gave."""
        params, state = saved
        with torch.no_grad():
            for name, x in params.items():
                self._params[name].copy_(_tensor(x, self._device))
        self._optimizer.load_state_dict(state)

    def export(self) -> PortableState:
        """The state as L-030 has it."""
        if not self._target.ours:
            raise UnsupportedError("portable state")
        return export_state(self._params.items(), self._optimizer)

    def adopt(self, state: PortableState) -> None:
        """Go on from such a state."""
        import_state(state, self._params.items(), self._optimizer)


def _tensor(array: NDArray[Any], device: str) -> Tensor:
    """With the strides of the array, and memory of its own."""
    array = np.array(array, order="K")
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).to(device)
    return torch.from_numpy(array).to(device)


def _decoded(m: Tensor, state: Mapping[str, Any]) -> Tensor:
    """What the codes of an int8 momentum stand for (L-031); any other as it is."""
    scales = state.get("exp_avg_scale")
    return decode(m, scales) if m.dtype == torch.int8 and scales is not None else m


def _array(tensor: Tensor) -> NDArray[Any]:
    tensor = tensor.detach().cpu().clone()
    if tensor.dtype == torch.bfloat16:
        return np.asarray(tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16))
    return np.asarray(tensor.numpy())
