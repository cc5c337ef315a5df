"""Which options a constructor offers, where Python would take any word."""

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lion_ports.config import LionConfig

CORE = ("lr", "betas", "b1", "b2", "beta_1", "beta_2", "weight_decay")
"""Settings that every Lion has."""

OPTIONS = {*LionConfig.__dataclass_fields__, "mask", "use_ema"} - {*CORE}
"""What a Lion need not offer. A setting of any other name is a mistake, and for it to refuse."""

_NONSENSE = "lion_conformance_means_nothing_by_this"


def offers(
    made: Callable[..., Any], args: Sequence[Any], core: Mapping[str, Any], option: str, value: Any
) -> bool:
    """Whether a constructor has a parameter for an option, or else does something with it.

    One with ``**kwargs`` may take any word and heed none. Where it takes a word that means nothing,
    the option counts as offered only if its value can be seen in the optimizer's settings, and that
    word cannot.

    Args:
        made: the constructor.
        args: what comes before its settings.
        core: settings that it takes.
        option: by its own name.
        value: that it is to be constructed with.
    """
    parameters = inspect.signature(made).parameters.values()
    if option in {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}:
        return True
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        return False
    try:  # with copies: torch writes to the groups that it is given
        probed = made(*copy.deepcopy(args), **core, **{_NONSENSE: value})
    except Exception:  # it knows what it takes; what it says of the option itself counts
        return True
    if _NONSENSE in _settings(probed):
        return False
    found = _settings(made(*copy.deepcopy(args), **core, **{option: value}))
    return option in found and bool(found[option] == value)


def _settings(optimizer: Any) -> dict[str, Any]:
    """Where optimizers keep what they were constructed with."""
    groups = getattr(optimizer, "param_groups", None) or [{}]
    return {**getattr(optimizer, "__dict__", {}), **getattr(optimizer, "defaults", {}), **groups[0]}
