"""What the loss was multiplied by (L-024), and the steps that are left out (L-019)."""

from typing import Any

from torch import Tensor

from lion_ports.config import LOSS_SCALE_MAX, LOSS_SCALE_MIN, LionConfig
from lion_ports.errors import NonFiniteError
from lion_ports.torch import counters
from lion_ports.torch.counters import Groups
from lion_ports.torch.finite import nonfinite


def loss_scale(groups: Groups, config: LionConfig) -> float | None:
    """What the loss is multiplied by, if it is (L-024)."""
    if config.dynamic:
        return float(groups[0]["loss_scale"])
    scale: Any = config.loss_scale
    return None if scale is None else float(scale)


def inverse_scale(
    groups: Groups, config: LionConfig, grad_scale: Tensor | None
) -> float | Tensor | None:
    """What gradients are multiplied by before all else (L-024).

    Args:
        groups: all of an optimizer.
        config: its settings.
        grad_scale: what a GradScaler multiplied the loss by, if there is one.
    """
    scale = loss_scale(groups, config)
    if grad_scale is not None:
        return grad_scale.double().reciprocal() / (scale or 1.0)
    return None if scale is None else 1 / scale


def left_out(groups: Groups, config: LionConfig, found_inf: Tensor | None) -> bool:
    """Whether this step is skipped (L-019, L-024).

    Args:
        groups: all of an optimizer.
        config: its settings.
        found_inf: what a GradScaler found, if there is one: not 0 if a gradient was not finite.

    Raises:
        NonFiniteError: a gradient is not finite, under ``nonfinite="raise"``.
    """
    overflow = found_inf is not None and bool(found_inf)
    if config.nonfinite == "propagate" and not config.dynamic:
        return overflow
    bad = nonfinite(groups)
    if bad and config.nonfinite == "raise":
        raise NonFiniteError(bad)
    return overflow or bool(bad)


def rescale(groups: Groups, config: LionConfig, *, skipped: bool) -> None:
    """Bring the loss scale forward if it is dynamic (L-024)."""
    if not config.dynamic:
        return
    scale = float(groups[0]["loss_scale"])
    if skipped:
        scale = max(scale / 2, LOSS_SCALE_MIN)
    elif counters.advance(groups, "good_steps") >= config.loss_scale_growth_interval:
        scale = min(scale * 2, LOSS_SCALE_MAX)
    else:
        return
    counters.reset(groups, "good_steps")
    for group in groups:
        group["loss_scale"].fill_(scale)
