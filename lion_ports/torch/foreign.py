"""States and optimizers that are no Lion's, which are refused before anything changes."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from lion_ports.errors import StateError
from lion_ports.torch.misfits import SHAPED

# A Lion keeps its momentum, some a count of steps, and ours what options need.
_SLOTS = {*SHAPED, "exp_avg_scale", "seen", "step"}
_ADVICE = (
    "begin with a fresh Lion, for which lion_ports.from_adamw makes lr and weight_decay of AdamW's"
)


def refuse_foreign_state(state_dict: Mapping[str, Any]) -> None:
    """Raise a StateError if a state dict is not a Lion's: it would be taken for another's."""
    kinds = {"state": Mapping, "param_groups": list}
    if lost := [name for name, kind in kinds.items() if not isinstance(state_dict.get(name), kind)]:
        raise StateError(f"this is no optimizer's state: it has no {lost[0]!r}")
    states = list(state_dict["state"].values())
    if found := _foreign(states):
        raise StateError(f"the state is not that of a Lion, it has {found}; {_ADVICE}")
    for group in state_dict["param_groups"]:
        if "betas" not in group or ("eps" in group and not any(states)):
            found = "an eps" if "betas" in group else "no betas"
            raise StateError(f"the state is not that of a Lion, a group has {found}; {_ADVICE}")


def refuse_foreign_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Raise a StateError if an optimizer, not ours, keeps other things than a Lion.

    As long as there is no state to tell, its name must.
    """
    if any("micro" in group for group in optimizer.param_groups):
        raise StateError(
            f"{type(optimizer).__name__} wraps a lion_ports.torch.Lion; give the Lion itself"
        )
    states = [slots for slots in optimizer.state.values() if slots]
    found = _foreign(states)
    if not states:
        named = any("lion" in base.__name__.lower() for base in type(optimizer).__mro__)
        eps = any("eps" in group for group in optimizer.param_groups)
        found = "" if named and not eps else "no state yet, and neither name nor settings of one"
    if found:
        raise StateError(
            f"{type(optimizer).__module__}.{type(optimizer).__name__} is no Lion that keeps its "
            f"momentum as exp_avg, and nothing else: it has {found}"
        )


def _foreign(states: Iterable[Any]) -> str:
    """What says that these are no Lion's states; empty if nothing does."""
    for slots in states:
        if not isinstance(slots, Mapping):
            return f"a {type(slots).__name__} for a parameter"
        if others := sorted(str(name) for name in slots.keys() - _SLOTS):
            return f"{', '.join(others)} for a parameter"
        if slots and "exp_avg" not in slots:
            return "no exp_avg for a parameter"
    return ""
