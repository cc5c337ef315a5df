"""What the suite asks of an implementation, and the words in which it may decline."""

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from lion_ports.config import LionConfig
from lion_ports.state import PortableState

Arrays = Mapping[str, NDArray[Any]]


class Implementation(Protocol):
    """An optimizer under test. Arrays are NumPy; bfloat16 is ``ml_dtypes.bfloat16``.

    The suite calls ``start`` once, then ``step`` for each set of gradients, and reads ``params``
    and ``momentum`` between the steps. A target ``python:module:make`` names a function that
    returns a fresh one of these.
    """

    def start(self, params: Arrays, config: LionConfig) -> None:
        """Take these parameters and settings; the momentum is zero."""

    def step(self, grads: Mapping[str, NDArray[Any] | None], lr: float) -> None:
        """Make one update with this learning rate; None is a parameter without a gradient."""

    def params(self) -> dict[str, NDArray[Any]]:
        """The parameters now."""

    def momentum(self) -> dict[str, NDArray[Any]] | None:
        """The momentum as stored, or None where it cannot be seen."""

    def load(self, params: Arrays, momentum: Arrays) -> None:
        """Go on from this state; optional."""

    def average(self) -> dict[str, NDArray[Any]] | None:
        """The averaged parameters (L-029), in their compute dtype; optional."""

    def export(self) -> PortableState:
        """The state in the form of L-030; optional."""

    def adopt(self, state: PortableState) -> None:
        """Go on from such a state; optional."""


class UnsupportedError(Exception):
    """The implementation does not offer what a case needs; that is not a failure."""

    def __init__(self, capability: str) -> None:
        self.capability = capability
        super().__init__(capability)
