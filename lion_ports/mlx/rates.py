"""Learning rates and their peaks as scalar arrays in the state of an optimizer."""

from typing import Any

import mlx.core as mx

from lion_ports import checks
from lion_ports.errors import ConfigError
from lion_ports.mlx.trees import packed, unpacked


class Rates:
    """The scalars of the state that are given as numbers; a compiled step takes them as inputs.

    They are float32 until a parameter is float64 (L-006). Then they are made again from what was
    assigned, unless others have been loaded since.
    """

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer
        self._assigned: dict[str, tuple[Any, mx.array]] = {}
        self._wide = False

    def __getitem__(self, key: str) -> mx.array:
        array: mx.array = self._place(key)[key]
        return array

    def get(self, key: str, default: Any) -> Any:
        """What the state has besides the learning rate, if it has it."""
        return self._optimizer.state.get("lion", {}).get(key, default)

    def __setitem__(self, key: str, value: Any) -> None:
        self.follow(key, value)
        self._assigned[key] = (value, self[key])

    def follow(self, key: str, value: Any) -> None:
        """Set what a schedule gave, which is not kept."""
        self._place(key)[key] = mx.array(value, mx.float64 if self._wide else mx.float32)

    def complete(self) -> None:
        """Put in what a state from elsewhere does not have."""
        for key, (_, array) in self._assigned.items():
            self._place(key).setdefault(key, array)

    def use_float64(self) -> None:
        """From now on, and for what is there."""
        if self._wide:
            return
        self._wide = True
        for key, (value, array) in list(self._assigned.items()):
            held = self[key]
            self[key] = value if held is array else held

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_assigned": packed(self._assigned)}

    def __setstate__(self, held: dict[str, Any]) -> None:
        self.__dict__.update(held, _assigned=unpacked(held["_assigned"]))

    def _place(self, key: str) -> Any:
        state = self._optimizer.state
        return state if key == "learning_rate" else state.setdefault("lion", {})


def checked(name: str, value: Any) -> Any:
    """A setting that came during the run; an ``mx.array`` is not looked at (L-020).

    Raises:
        ConfigError: a number that is negative or not finite, or no scalar.
    """
    # Looking would wait for the device, and inside mx.compile there is no value yet.
    scalar = isinstance(value, mx.array) and value.ndim == 0
    if not scalar and (problems := checks.number(name, value)):
        raise ConfigError(*problems)
    return value
