"""The settings of an optimizer, which can be read, and are not ignored where they are assigned."""

import re
from dataclasses import fields
from typing import Any

from lion_ports.config import LionConfig
from lion_ports.errors import ConfigError

SETTINGS = frozenset(field.name for field in fields(LionConfig)) - {"lr"}
"""The settings that LionConfig has by the same name."""

# With what a compiled step takes from the state, so that it sees what is assigned.
_ASSIGNABLE = ("learning_rate", "weight_decay", "lr_peak")
_FIXED = SETTINGS.difference(_ASSIGNABLE) | {"mask", "groups"}


class Settings:
    """Gives every setting of ``config`` by its name, and takes none but those of the state."""

    config: LionConfig

    def __getattr__(self, name: str) -> Any:
        if name in SETTINGS:
            return getattr(self.config, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED:
            raise ConfigError(
                f"{name} is fixed when the optimizer is made; make another Lion with it and give "
                f"it the state of this one (only {', '.join(_ASSIGNABLE)} can be assigned)"
            )
        if name == "lr":
            raise ConfigError("lr is not a setting of this Lion; assign learning_rate")
        super().__setattr__(name, value)


def named(problem: str) -> str:
    """A problem of LionConfig with the name that the learning rate has here."""
    return re.sub(r"\blr\b", "learning_rate", problem)
