"""Wrong states that users have met in programs in use: other dtypes, other runs, eight bits."""

from typing import Any

import numpy as np

from lion_ports import reference
from lion_ports.config import LionConfig, Scalars
from lion_ports.conformance.mutants.making import Array, Arrays, Mutant, on_reals, updating
from lion_ports.conformance.variants import Variant, right_update
from lion_ports.state import PortableState

_BLOCK = 256


def _wide_momentum(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    """No cast back: a momentum of bfloat16 is one of float32 from the first step on."""
    dtype = reference.compute_dtype(x.dtype)
    return right_update(lion, name, x, g, m, s)[0], right_update(
        lion, name, x.astype(dtype), g, m.astype(dtype), s
    )[1]


def _like_gradient(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    """No cast back: a wider gradient makes a wider parameter."""
    new_x, new_m = right_update(lion, name, x, g, m, s)
    wider = g.dtype.itemsize > x.dtype.itemsize
    return new_x.astype(g.dtype) if wider else new_x, new_m


def _eight_bits(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    """Integers from -127 to 127 with one scale for each block."""
    new_x, new_m = right_update(lion, name, x, g, m, s)
    flat, stored = new_m.astype(np.float32).ravel(), []
    for at in range(0, flat.size, _BLOCK):
        block = flat[at : at + _BLOCK]
        scale = np.abs(block).max() / np.float32(127) or np.float32(1)
        stored.append(np.rint(block / scale) * scale)
    return new_x, np.concatenate(stored or [flat]).reshape(m.shape).astype(m.dtype)


def _through_float16(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    new_x, new_m = right_update(lion, name, x, g, m, s)
    return new_x, new_m.astype(np.float16).astype(m.dtype)


class _PeakForgotten(Variant):
    """The peak of independent decay is the rate of the run that loads, not of the one saved."""

    def start(self, params: Any, config: LionConfig, mask: Any = None, **asked: Any) -> None:
        super().start(params, config, mask, **asked)
        self._loaded = False

    def load(self, params: Any, momentum: Any) -> None:
        super().load(params, momentum)
        self._loaded = True

    def adopt(self, state: PortableState) -> None:
        super().adopt(state)
        self._loaded = True

    def step(self, grads: Any, lr: float) -> None:
        if self._loaded and self.state.lr_peak is not None:
            self.state = self.state._replace(lr_peak=lr)
        self._loaded = False
        super().step(grads, lr)


MUTANTS: dict[str, Mutant] = {
    "momentum-widens": Mutant(
        "the momentum is stored in the compute dtype from the first step on",
        on_reals(_wide_momentum),
    ),
    "parameter-like-gradient": Mutant(
        "a parameter takes the dtype of a wider gradient", updating(_like_gradient)
    ),
    "momentum-cast-on-load": Mutant(
        "a momentum that is loaded is cast to the parameter's dtype",
        lambda: Variant(restore=lambda x, m: m.astype(x.dtype)),
    ),
    "peak-forgotten": Mutant(
        "after loading, independent decay divides by the learning rate of that moment",
        _PeakForgotten,
    ),
    "momentum-through-float16": Mutant(
        "the momentum is kept in float16, where small ones vanish", on_reals(_through_float16)
    ),
    "momentum-in-eight-bits": Mutant(
        "the momentum is kept in eight bits, evenly spaced in blocks of 256",
        on_reals(_eight_bits),
    ),
}
"""Mutant by name."""
