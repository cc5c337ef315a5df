"""What is kept beside many parameters: their states, and the columns of these."""

from collections.abc import Mapping, Sequence
from itertools import chain, islice, repeat
from operator import contains, is_, itemgetter
from typing import Any

from torch import Tensor

from lion_ports.torch.column import Column

Slots = dict[str, Any]
"""What is kept beside one parameter, by name."""


class States(list[Slots]):
    """The states of some parameters, which lose nothing while this is used.

    Args:
        states: any number of them.
    """

    @classmethod
    def of(cls, kept: Mapping[Tensor, Slots], columns: Sequence[Column]) -> list["States"]:
        """The states of the parameters in each column; what has none gets it.

        Args:
            kept: ``optimizer.state``.
            columns: some of its parameters.
        """
        # They are in the order of the parameters, if all had their first step together. To find one
        # by its parameter takes longer: torch has Python make the hash of a tensor.
        together = sum(map(len, columns)) == len(kept)
        if together and all(map(is_, kept, chain.from_iterable(columns))):
            states = iter(kept.values())
            return [cls(islice(states, len(column))) for column in columns]
        return [cls(map(kept.__getitem__, column)) for column in columns]

    def __init__(self, states: Any) -> None:
        super().__init__(states)
        self._columns: dict[str, Column] = {}

    def column(self, name: str) -> Column | None:
        """What each of them has by that name; None if one has nothing."""
        if name not in self._columns:
            if not all(map(contains, self, repeat(name))):
                return None
            self._columns[name] = Column(map(itemgetter(name), self))
        return self._columns[name]
