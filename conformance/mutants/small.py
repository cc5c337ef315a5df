"""Small state gone wrong: codes of 8 bits (L-031) and corrections (L-032)."""

from dataclasses import replace
from typing import Any

import numpy as np

from lion_ports import reference
from lion_ports.config import LionConfig, Scalars
from lion_ports.conformance.mutants.making import Array, Arrays, Mutant, updating
from lion_ports.conformance.variants import Variant, right_update
from lion_ports.state import PortableState


def _without(**options: Any) -> Variant:
    def obey(config: LionConfig, mask: Any) -> tuple[LionConfig, Any]:
        off: dict[str, Any] = {n: None for n, is_off in options.items() if is_off(config)}
        return replace(config, **off), mask

    return Variant(obey=obey)


def _nearest(m: Array, count: int) -> Arrays:
    """A half in place of chance: the code of the nearest value."""
    codes, scales = reference.encode(m, count)
    scale = scales.astype(np.float32).repeat(reference.BLOCK)[: m.size].reshape(m.shape)
    with np.errstate(all="ignore"):
        distance = (np.abs(m) / scale).astype(np.float32).view(np.int32) - ((127 - 15) << 23)
    nearest = np.clip((distance + (1 << 19)) >> 20, 1, 127)
    nearest = np.where(m < 0, -nearest, nearest)
    return np.where((codes == 0) | (codes == -128), codes, nearest).astype(np.int8), scales


def _sign_lost(m: Array, count: int) -> Arrays:
    """What is below the smallest code becomes zero."""
    codes, scales = reference.encode(m, count)
    return np.where(np.abs(codes) == 1, 0, codes).astype(np.int8), scales


def _even_steps(m: Array, count: int) -> Arrays:
    """127 even steps from zero to the largest, as most codes of 8 bits have."""
    codes, scales = reference.encode(m, count)
    whole = reference.decode(codes, scales)
    with np.errstate(all="ignore"):
        largest = np.max(np.abs(whole), initial=0, where=np.isfinite(whole))
        even = np.round(whole / largest * 127) * (largest / 127) if largest else whole
    return reference.encode(np.asarray(even, np.float32), count)


def _decays_bfloat16(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    """The decay is that of the bfloat16 parameter and is added to it, not to the whole."""
    new_x, new_m = right_update(lion, name, x, g, m, s)
    if name not in lion.state.correction or s.wd == 0:
        return new_x, new_m
    undecayed, _ = right_update(lion, name, x, g, m, s._replace(wd=0.0))
    upper = lion.params()[name].astype(np.float32)
    moved = upper - np.float32(s.lr * s.wd) * upper
    return undecayed + (moved.astype(reference.BFLOAT16).astype(np.float32) - upper), new_m


class _ByCalls(Variant):
    """The rounding goes by calls of step."""

    def step(self, grads: Any, lr: float) -> None:
        self.encode = lambda m, count: reference.encode(m, self._seen - 1)
        super().step(grads, lr)


class _Forgetful(Variant):
    """A saved correction is not gone on with."""

    def adopt(self, state: PortableState) -> None:
        super().adopt(state)
        zeros = {n: np.zeros_like(c) for n, c in self.state.correction.items()}
        self.state = self.state._replace(correction=zeros)


MUTANTS: dict[str, Mutant] = {
    "int8-ignored": Mutant(
        "an int8 momentum is kept in the parameter's dtype",
        lambda: _without(momentum_dtype=lambda config: config.momentum_dtype == "int8"),
    ),
    "int8-nearest": Mutant(
        "an int8 momentum is rounded to the nearest code, and small changes are lost for ever",
        lambda: Variant(encode=_nearest),
    ),
    "int8-same-dither": Mutant(
        "an int8 momentum is rounded by the same chance at every step",
        lambda: Variant(encode=lambda m, count: reference.encode(m, 0)),
    ),
    "int8-sign-lost": Mutant(
        "the smallest values of an int8 momentum become zero", lambda: Variant(encode=_sign_lost)
    ),
    "int8-even-steps": Mutant(
        "an int8 momentum has even steps, and the small values of a block lose their signs",
        lambda: Variant(encode=_even_steps),
    ),
    "int8-dither-by-calls": Mutant(
        "an int8 momentum is rounded by the count of calls, not of updates", _ByCalls
    ),
    "correction-ignored": Mutant(
        "correction_bits is ignored",
        lambda: _without(correction_bits=lambda config: True),
    ),
    "correction-without-decay": Mutant(
        "the decay is rounded to the bfloat16 parameter", updating(_decays_bfloat16)
    ),
    "correction-lost-on-load": Mutant("a saved correction is not gone on with", _Forgetful),
}
"""Mutant by name."""
