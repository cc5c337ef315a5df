"""The moving averages of the parameters, and how they are looked at (L-029)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlx.nn import Module

from lion_ports.config import LionConfig
from lion_ports.errors import ConfigError
from lion_ports.mlx.step import as_parameter
from lion_ports.mlx.trees import entries, known, replaced

_LOST = (
    "an update inside 'with optimizer.averaged(model)' is lost, as the parameters from before come "
    "back at its end; make updates outside"
)


class Averages:
    """What an optimizer with averages in its state can do with them."""

    config: LionConfig
    state: Any
    _swapped = 0  # how many models have averages in them

    def averaged_parameters(self, parameters: Any) -> Any:
        """The averages of the parameters, in their dtypes; what has none stays (L-029).

        Raises:
            ConfigError: the optimizer has no ``ema_decay``.
        """
        if self.config.ema_decay is None:
            raise ConfigError("there are no averages without ema_decay; construct Lion with one")
        leaves = entries(known(parameters, self.state), self.state)
        averages = {path: as_parameter(slots["average"], x) for path, x, slots in leaves}
        return replaced(parameters, averages)

    @contextmanager
    def averaged(self, model: Module) -> Iterator[Module]:
        """Swap the averages into the model, and its own parameters in again at the end (L-029).

        Raises:
            ConfigError: an update inside; one that is compiled is found at the end.

        >>> from mlx import core as mx, nn
        >>> from lion_ports.mlx import Lion
        >>> model, optimizer = nn.Linear(1, 1), Lion(0.5, ema_decay=0.75)
        >>> model.weight = mx.array([[1.0]])
        >>> optimizer.update(model, {"weight": mx.array([[1.0]])})
        >>> with optimizer.averaged(model):
        ...     model.weight.item()
        0.875
        >>> model.weight.item()
        0.5
        """
        held, step = known(model, self.state), self.state["step"]
        model.update(self.averaged_parameters(held))
        self._swapped += 1
        try:
            yield model
        finally:
            self._swapped -= 1
            model.update(held)
        if self.state["step"] is not step:  # a compiled step does not come by _refuse_lost_update
            raise ConfigError(_LOST)

    def _refuse_lost_update(self) -> None:
        if self._swapped:
            raise ConfigError(_LOST)
