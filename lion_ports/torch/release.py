"""Gradient release: each parameter is updated during the backward pass, and its gradient freed."""

from typing import Any, Self
from weakref import WeakSet

import torch.distributed as dist
from torch import Tensor

from lion_ports.config import LionConfig
from lion_ports.errors import ConfigError, LionError
from lion_ports.torch.optimizer import Lion
from lion_ports.torch.sharding import is_dtensor

# The optimizers that have a release now.
_RELEASED: WeakSet[Lion] = WeakSet()


def release_gradients(optimizer: Lion, *, local_gradients: bool = False) -> "GradientRelease":
    """Let the backward pass update each parameter, so that gradients never exist all at once.

    As soon as the gradient of a parameter is complete, the parameter makes the update that
    ``optimizer.step()`` would have made (L-001), with the same bits, and its gradient becomes None.
    ``step`` is still called once after each backward pass: it completes the count of updates, by
    which schedules go (L-015), and updates what got its gradient in another way.

    ``fully_shard`` (FSDP2) hands over each gradient once it is reduced. ``DistributedDataParallel``
    reduces them later, when they would be gone, and is refused.

    Args:
        optimizer: parameters that it is given later are updated by ``step``, as usual.
        local_gradients: say that no other process has a part in the gradients of parameters that
            are no DTensors, as in a pipeline. Where there are other processes, this cannot be seen.

    Returns:
        a handle whose ``remove()`` ends it; also a context manager.

    Raises:
        ConfigError: at once, if an option needs all gradients together, if there is a release
            already, or if ``optimizer`` is no Lion of ours; from ``step``, if a
            ``GradScaler`` runs the optimizer, for it does too.
        LionError: from the backward pass, if a parameter gets a second gradient before ``step``.

    >>> import torch
    >>> weight = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    >>> optimizer = Lion([weight], lr=0.25)
    >>> with release_gradients(optimizer):
    ...     (weight * torch.tensor([2.0, -2.0])).sum().backward()
    ...     optimizer.step()
    >>> weight.data, weight.grad
    (tensor([0.7500, 1.2500]), None)
    """
    if not isinstance(optimizer, Lion):
        raise ConfigError(
            f"release_gradients needs a lion_ports.torch.Lion, and a {type(optimizer).__name__} "
            "was given"
        )
    problems = _looking_ahead(optimizer.config)
    if optimizer in _RELEASED:
        problems.append(
            "this optimizer has its gradients released already, and would make each update twice; "
            "remove() that release first"
        )
    if not local_gradients and _may_be_replicated(optimizer):
        problems.append(
            "each of several processes would update by its own gradients, and their parameters "
            "part; use fully_shard in place of DistributedDataParallel, or give "
            "local_gradients=True if they share no gradients"
        )
    if problems:
        raise ConfigError(*problems)
    return GradientRelease(optimizer)


class GradientRelease:
    """What ``release_gradients`` has hooked into parameters and optimizer."""

    def __init__(self, optimizer: Lion) -> None:
        self._optimizer = optimizer
        self._updated: set[Tensor] = set()  # since the last step
        self._hooks = [
            optimizer.register_step_pre_hook(_refuse_grad_scaler),
            optimizer.register_step_post_hook(lambda *_: self._updated.clear()),
        ]
        for index, group in enumerate(optimizer.param_groups):
            for p in group["params"]:
                if p.requires_grad:
                    self._hook(optimizer, index, p)
        _RELEASED.add(optimizer)

    def _hook(self, optimizer: Lion, index: int, parameter: Tensor) -> None:
        def update(p: Tensor) -> None:
            if p in self._updated:
                raise LionError(
                    "a parameter got a second gradient before optimizer.step(), and the first has "
                    "moved it already; call step() after each backward pass, or, to accumulate "
                    "gradients, remove() the release."
                )
            optimizer.update_parameter(p, index)
            p.grad = None
            self._updated.add(p)

        self._hooks.append(parameter.register_post_accumulate_grad_hook(update))

    def remove(self) -> None:
        """Take the hooks away: gradients stay from now on, and ``step`` does the updates."""
        if self._hooks:
            _RELEASED.discard(self._optimizer)
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def _may_be_replicated(optimizer: Lion) -> bool:
    """Whether a DistributedDataParallel, which leaves no mark on parameters, may have them."""
    several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    params = (p for group in optimizer.param_groups for p in group["params"])
    return several and not all(is_dtensor(p) for p in params)


def _looking_ahead(config: LionConfig) -> list[str]:
    """The options that look at all gradients before the first parameter moves."""
    ahead = {
        "global_clipnorm": (config.global_clipnorm is not None, "use clipnorm or clipvalue"),
        "nonfinite": (config.nonfinite != "propagate", "use 'propagate'"),
        "gradient_accumulation_steps": (config.gradient_accumulation_steps != 1, "use 1"),
        "loss_scale": (config.dynamic, "use a number, or bfloat16 parameters"),
    }
    return [
        f"{name} = {getattr(config, name)!r} needs all gradients at once, which release_gradients "
        f"never has; {instead}"
        for name, (needed, instead) in ahead.items()
        if needed
    ]


def _refuse_grad_scaler(optimizer: Any, args: Any, kwargs: Any) -> None:
    if getattr(optimizer, "grad_scale", None) is not None:
        raise ConfigError(
            "a GradScaler divides gradients at step(), and released gradients are gone by then; "
            "train in bfloat16 without a scaler, or remove() the release."
        )
