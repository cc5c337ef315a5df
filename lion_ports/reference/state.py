"""What the reference carries from one step to the next."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from lion_ports.errors import StateError
from lion_ports.reference.arithmetic import Array, Arrays
from lion_ports.state import PortableState

NONE: Mapping[str, Any] = MappingProxyType({})


class State(NamedTuple):
    """The state of an optimizer (L-002); what belongs to an option that is off stays as it is here.

    Attributes:
        count: updates done.
        skipped: steps left out (L-019).
        momentum: by parameter.
        momentum_scale: of each that is in 8 bits (L-031).
        correction: of each parameter that has one (L-032).
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
    momentum_scale: Mapping[str, Array] = NONE
    correction: Mapping[str, Array] = NONE
    micro: int = 0
    gradient_sum: Mapping[str, Array] = NONE
    seen: Mapping[str, int] = NONE
    average: Mapping[str, Array] = NONE
    loss_scale: float | None = None
    good_steps: int = 0
    lr_peak: float | None = None


def export_state(params: Arrays, state: State) -> PortableState:
    """Parameters and state in the form that all backends share (L-030)."""
    peak = {} if state.lr_peak is None else dict.fromkeys(params, float(state.lr_peak))
    same = {name: getattr(state, name) for name in _SAME}
    return PortableState(dict(params), dict(state.momentum), lr_peak=peak, **same)


def import_state(state: PortableState) -> tuple[dict[str, Array], State]:
    """What :func:`export_state` was given, by whatever backend (L-030).

    Raises:
        StateError: parameters have an ``lr_peak`` each, and not the same one.
    """
    peaks = set(state.lr_peak.values())
    if len(peaks) > 1:
        raise StateError(
            f"the state has the peaks {sorted(peaks)}, and the reference has one lr_peak for all"
        )
    same = {name: getattr(state, name) for name in _SAME}
    peak = next(iter(peaks), None)
    return dict(state.parameters), State(momentum=state.momentum, lr_peak=peak, **same)


_SAME = (
    "momentum_scale",
    "correction",
    "count",
    "skipped",
    "micro",
    "gradient_sum",
    "seen",
    "average",
    "loss_scale",
    "good_steps",
)
