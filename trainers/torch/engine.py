"""The engine on PyTorch."""

from importlib.util import find_spec
from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray

from lion_ports.torch import Lion
from lion_ports.trainers.architecture import check_tensors, decays
from lion_ports.trainers.engine import (
    ADAMW_EPSILON,
    EngineSettings,
    StepResult,
    Tensors,
)
from lion_ports.trainers.errors import UsageError
from lion_ports.trainers.slots import (
    ADAMW_PREFIXES,
    CORRECTION,
    MOMENTUM,
    SCALE,
    fresh,
    loaded,
    slots,
)
from lion_ports.trainers.torch.model import Transformer, loss


def build(settings: EngineSettings, parameters: Tensors) -> "TorchEngine":
    """See ``lion_ports.trainers.engine.build_engine``."""
    return TorchEngine(settings, parameters)


class TorchEngine:
    """Eager PyTorch. ``torch.compile`` is used on a GPU only: on a CPU it compiles for half a
    minute and a run of the presets for a CPU is over before that is won back."""

    def __init__(self, settings: EngineSettings, parameters: Tensors) -> None:
        device = pick_device(settings.device)
        self.device = str(device)
        self.notes: tuple[str, ...] = ()
        self.first_step = _compilation(settings, device)
        self._settings = settings
        self._torch_device = device
        self._shapes = settings.architecture.shapes()
        with torch.device(device):
            self._model = Transformer(settings.architecture).to(_DTYPES[settings.dtype])
        self._named = dict(self._model.named_parameters())
        self._lr = torch.zeros((), device=device)
        self._optimizer = self._fresh_optimizer()
        self._loss = loss
        if settings.compile and device.type == "cuda":
            self._loss = torch.compile(loss)
        self._put(parameters)

    def train_step(self, tokens: NDArray[Any], lr: float, record: bool = False) -> StepResult:
        value = self._loss(self._model, self._tokens(tokens))
        torch.autograd.backward(value)
        gradients = [p.grad for p in self._named.values() if p.grad is not None]
        squares = torch.stack([g.float().square().sum() for g in gradients])
        norm = squares.sum().sqrt()
        finite = bool(norm.isfinite())
        if finite:
            if self._settings.clip > 0:
                scale = self._settings.clip / norm.clamp(min=self._settings.clip)
                torch._foreach_mul_(gradients, scale)
            self._lr.fill_(lr)
            self._optimizer.step()
        seen = zip(self._named, gradients, strict=True) if record else ()
        kept = {name: to_numpy(g) for name, g in seen}
        self._optimizer.zero_grad()
        bad = [] if finite else (~squares.isfinite()).tolist()
        names = tuple(name for name, is_bad in zip(self._named, bad, strict=False) if is_bad)
        return StepResult(value.item(), norm.item(), names, kept if record else None)

    def loss(self, tokens: NDArray[Any]) -> float:
        with torch.no_grad():
            return self._loss(self._model, self._tokens(tokens)).item()

    def logits(self, tokens: NDArray[Any]) -> NDArray[Any]:
        with torch.no_grad():
            return to_numpy(self._model(self._tokens(tokens)))

    def gradients(self, tokens: NDArray[Any]) -> Tensors:
        values = torch.autograd.grad(
            self._loss(self._model, self._tokens(tokens)), list(self._named.values())
        )
        return {name: to_numpy(value) for name, value in zip(self._named, values, strict=True)}

    def parameters(self) -> Tensors:
        return {name: to_numpy(p) for name, p in self._named.items()}

    def optimizer_state(self) -> Tensors:
        # state is a defaultdict: an entry made by looking would be taken for an update done.
        state = self._optimizer.state
        if not state:
            return fresh(self._settings)
        return {
            prefix + name: to_numpy(state[self._named[name]][_KEYS[prefix]])
            for prefix, named in slots(self._settings).items()
            for name in named
        }

    def load(self, parameters: Tensors, optimizer_state: Tensors, updates: int) -> None:
        self._put(parameters)
        self._optimizer = self._fresh_optimizer()
        if updates == 0:
            return
        for prefix, named in loaded(optimizer_state, self._settings).items():
            for name, tensor in named.items():
                state = self._optimizer.state[self._named[name]]
                state[_KEYS[prefix]] = to_tensor(tensor).to(self._torch_device)
        # Each counts in its own place.
        if self._settings.optimizer == "adamw":
            for state in self._optimizer.state.values():
                state["step"] = torch.tensor(float(updates))
        else:
            for group in self._optimizer.param_groups:
                group["count"].fill_(updates)

    def _put(self, parameters: Tensors) -> None:
        check_tensors(parameters, self._shapes)
        with torch.no_grad():
            for name, p in self._named.items():
                p.copy_(to_tensor(parameters[name]))

    def _fresh_optimizer(self) -> torch.optim.Optimizer:
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self._named.values() if decays(tuple(p.shape))]},
            {
                "params": [p for p in self._named.values() if not decays(tuple(p.shape))],
                "weight_decay": 0.0,
            },
        ]
        settings = self._settings
        if settings.optimizer == "adamw":
            # The loop over parameters is the path that takes the learning rate as a tensor.
            return torch.optim.AdamW(
                groups,
                lr=self._lr,
                betas=settings.betas,
                eps=ADAMW_EPSILON,
                weight_decay=settings.weight_decay,
                foreach=False,
            )
        return Lion(
            groups,
            lr=self._lr,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            momentum_dtype=settings.momentum_dtype,
            correction_bits=settings.correction_bits,
        )

    def _tokens(self, tokens: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(tokens, np.int32)).to(self._torch_device)


def _compilation(settings: EngineSettings, device: torch.device) -> str:
    """Why a first step is slow. Numba is looked for, and not imported before that step is."""
    if device.type == "cuda" and settings.compile:
        return "PyTorch compiles the model, which takes a while"
    if device.type == "cpu" and settings.optimizer != "adamw" and find_spec("numba"):
        return "Numba compiles Lion for some seconds, or loads it from its cache"
    return ""


def pick_device(name: str) -> torch.device:
    """The device that ``--device`` names.

    Raises:
        UsageError: if this machine or this build of PyTorch has none.
    """
    found = {"cpu": "cpu"}
    if torch.backends.mps.is_available():
        found |= {"mps": "mps", "gpu": "mps"}
    if torch.cuda.is_available():
        found["gpu"] = "cuda"
    if name == "auto":
        return torch.device(found.get("gpu", "cpu"))
    if name not in found:
        raise UsageError(f"--device {name}: PyTorch sees here only {', '.join(sorted(found))}")
    return torch.device(found[name])


def to_tensor(array: NDArray[Any]) -> torch.Tensor:
    """A copy of ``array``; bfloat16 stays bfloat16."""
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(array.copy())


def to_numpy(tensor: torch.Tensor) -> NDArray[Any]:
    """A copy of ``tensor``; bfloat16 stays bfloat16."""
    tensor = tensor.detach().cpu().clone()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

_KEYS = {MOMENTUM: "exp_avg", SCALE: "exp_avg_scale", CORRECTION: "correction"} | dict(
    zip(ADAMW_PREFIXES, ("exp_avg", "exp_avg_sq"), strict=True)
)
