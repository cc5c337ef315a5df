"""A case, and the trial that it puts to an implementation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lion_ports.config import LionConfig

Array = NDArray[Any]


class Step(NamedTuple):
    """One step of a stream: gradients by parameter name (None: no gradient) and learning rate."""

    grads: Mapping[str, Array | None]
    lr: float


@dataclass(frozen=True)
class Trial:
    """Parameters, settings and the stream of gradients to replay."""

    params: Mapping[str, Array]
    steps: list[Step]
    config: LionConfig = field(default_factory=LionConfig)
    # Which parameters decay; None: all.
    mask: Mapping[str, bool] | None = None
    # Every operation is exact, so that every right way of writing Lion gives the same bits.
    exact: bool = False
    # Construct with the learning rate alone: the implementation's own defaults are under test.
    defaults: bool = False
    # Save before this step, and go on from the saved state in a fresh implementation.
    restart_at: int | None = None
    # Save as the portable state of L-030, not in the implementation's own way.
    portable: bool = False
    # The step, counted from 0, that must raise, and move nothing.
    raises_at: int | None = None
    # Settings that must be refused, in place of a stream.
    refuse: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Case:
    """One question to an implementation.

    ``rule`` is the number in docs/spec.md, ``reason`` says what the case looks at, and ``catches``
    names mutants that must fail it.
    """

    id: str
    rule: str
    reason: str
    build: Callable[[], Trial]
    catches: tuple[str, ...] = ()

    @property
    def category(self) -> str:
        """The family of cases, as docs/conformance.md lists them."""
        return next(name for name in CATEGORIES if self.id.startswith(name + "-"))


CATEGORIES = (
    "basic",
    "coefficients",
    "sign-zero",
    "sign-critical",
    "sign-safe",
    "decay",
    "betas",
    "schedule",
    "dtype",
    "nonfinite",
    "subnormal",
    "structure",
    "state",
    "option",
    "errors",
    "recorded",
    "long",
)


class Snapshot(NamedTuple):
    """What can be seen of an implementation between two steps."""

    params: dict[str, Array]
    momentum: dict[str, Array] | None
    average: dict[str, Array] | None = None


def generator(seed: int) -> np.random.Generator:
    """The suite's only source of random numbers: Philox, the same on every platform."""
    return np.random.Generator(np.random.Philox(seed))
