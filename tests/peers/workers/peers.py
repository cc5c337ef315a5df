"""Lions of other libraries, each behind one step of one parameter."""

import inspect
from abc import ABC, abstractmethod
from importlib import import_module
from types import ModuleType
from typing import Any


class Peer(ABC):
    """A Lion of another library: its module, its arguments, and one step from a fresh state."""

    def __init__(self, module: str) -> None:
        self.module: ModuleType = import_module(module)
        self.lion: Any = getattr(self.module, "lion" if module == "optax" else "Lion")
        self.parameters = dict(inspect.signature(self.lion).parameters)

    @abstractmethod
    def array(self, values: Any, dtype: str = "float32") -> Any:
        """An array of the library's framework."""

    @abstractmethod
    def step(self, x: Any, g: Any, lr: Any = 0.25, weight_decay: Any = 0.0) -> Any:
        """The parameter after one step from ``x`` with the gradient ``g``."""

    def refuses(self, **settings: Any) -> bool:
        """Whether it cannot be made, or makes no step, with such settings."""
        try:
            self.step(self.array([1.0]), self.array([1.0]), **settings)
        except (TypeError, ValueError, AssertionError, AttributeError):
            return True
        return False


class Torch(Peer):
    """lion-pytorch, optimi, bitsandbytes."""

    def __init__(self, module: str) -> None:
        super().__init__(module)
        self.torch: Any = import_module("torch")
        if module == "lion_pytorch":  # which has another Lion for the cautious rows
            cautious = import_module("lion_pytorch.cautious_lion").Lion
            self.parameters |= inspect.signature(cautious).parameters

    def array(self, values: Any, dtype: str = "float32") -> Any:
        return self.torch.tensor(values, dtype=getattr(self.torch, dtype))

    def parameter(self, x: float, g: float, dtype: str = "float32") -> Any:
        p = self.torch.nn.Parameter(self.array([x], dtype))
        p.grad = self.array([g], dtype)
        return p

    def step(self, x: Any, g: Any, lr: Any = 0.25, weight_decay: Any = 0.0) -> Any:
        p = self.torch.nn.Parameter(x)
        p.grad = g
        self.lion([p], lr=lr, weight_decay=weight_decay).step()
        return p.detach()


class Optax(Peer):
    def array(self, values: Any, dtype: str = "float32") -> Any:
        return import_module("jax.numpy").array(values, dtype)

    def step(self, x: Any, g: Any, lr: Any = 0.25, weight_decay: Any = 0.0) -> Any:
        optimizer = self.lion(lr, weight_decay=weight_decay)
        updates, _ = optimizer.update(g, optimizer.init(x), x)
        return self.module.apply_updates(x, updates)


class Mlx(Peer):
    def array(self, values: Any, dtype: str = "float32") -> Any:
        mx = import_module("mlx.core")
        return mx.array(values, getattr(mx, dtype))

    def step(self, x: Any, g: Any, lr: Any = 0.25, weight_decay: Any = 0.0) -> Any:
        rate = (lambda count: self.array(lr(count))) if callable(lr) else lr
        optimizer = self.lion(rate, weight_decay=weight_decay)
        return optimizer.apply_gradients({"w": g}, {"w": x})["w"]
