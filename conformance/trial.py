"""A case, and the trial that it puts to an implementation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lion_ports.config import LionConfig

Array = NDArray[Any]


class Step(NamedTuple):
    """One step of a stream: gradients by parameter name (None: no gradient) and learning rate."""

    grads: Mapping[str, Array | None]
    lr: float


class Group(NamedTuple):
    """Some of the parameters, and what they have in place of the trial's settings.

    ``settings`` and each of ``changes``, by the step (counted from 0) that they come before, are
    of ``lr``, ``betas`` and ``weight_decay``. A group without an ``lr`` has that of the step.
    """

    names: tuple[str, ...]
    settings: Mapping[str, Any] = MappingProxyType({})
    changes: Mapping[int, Mapping[str, Any]] = MappingProxyType({})

    def at(self, step: int) -> dict[str, Any]:
        """The settings at a step, counted from 0."""
        settings = dict(self.settings)
        for since in sorted(self.changes):
            settings |= self.changes[since] if since <= step else {}
        return settings


@dataclass(frozen=True)
class Trial:
    """Parameters, settings and the stream of gradients to replay."""

    params: Mapping[str, Array]
    steps: list[Step]
    config: LionConfig = field(default_factory=LionConfig)
    # Which parameters decay; None: all.
    mask: Mapping[str, bool] | None = None
    # Parameter groups, each parameter in one of them; none: one group of all.
    groups: tuple[Group, ...] = ()
    # The steps, counted from 0, at which a parameter is not to be trained.
    frozen: Mapping[str, range] = field(default_factory=dict)
    # Names of one and the same tensor, which have the same values and gradients throughout.
    tied: tuple[str, ...] = ()
    # Ask the way that the framework compiles, which from the fourth step on compiles nothing; where
    # it captures a step first and makes code of that later, "captured" leaves the code out.
    compiled: Literal["captured", "whole"] | None = None
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

    def frozen_at(self, step: int) -> frozenset[str]:
        """The parameters that are not to be trained at a step, counted from 0."""
        return frozenset(name for name, steps in self.frozen.items() if step in steps)

    def config_at(self, step: int, name: str) -> LionConfig:
        """The settings of a parameter at a step, counted from 0."""
        settings = next((g.at(step) for g in self.groups if name in g.names), {})
        return replace(self.config, **settings) if settings else self.config

    def rate_at(self, step: int, name: str) -> float:
        """The learning rate of a parameter at a step, counted from 0."""
        own = next((g.at(step) for g in self.groups if name in g.names), {})
        return float(own.get("lr", self.steps[step].lr))


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
        """The family of cases; a stream that is replayed has its path for an id."""
        return next((n for n in CATEGORIES if self.id.startswith(n + "-")), "recorded")


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
    "compiled",
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
