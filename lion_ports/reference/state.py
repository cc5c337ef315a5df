"""What the reference carries from one step to the next."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from lion_ports.reference.arithmetic import Array

NONE: Mapping[str, Any] = MappingProxyType({})


class State(NamedTuple):
    """The state of an optimizer (L-002); what belongs to an option that is off stays as it is here.

    Attributes:
        count: updates done.
        skipped: steps left out (L-019).
        momentum: by parameter.
        micro: micro-steps since the last update (L-025).
        gradient_sum: of these, in the compute dtype, by parameter that had a gradient.
        seen: how many gradients are in each sum.
        average: of each parameter, in the compute dtype (L-029).
        loss_scale: where it is dynamic (L-024).
        good_steps: finite steps since it last changed.
        lr_peak: what independent decay divides by (L-017).
    """

    count: int  # type: ignore[assignment]  # a field named like a method of tuple, as in optax
    skipped: int
    momentum: Mapping[str, Array]
    micro: int = 0
    gradient_sum: Mapping[str, Array] = NONE
    seen: Mapping[str, int] = NONE
    average: Mapping[str, Array] = NONE
    loss_scale: float | None = None
    good_steps: int = 0
    lr_peak: float | None = None
