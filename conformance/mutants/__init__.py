"""Wrong Lions, each wrong in one way that a real implementation has been, or could be.

The suite must fail every one of them, each in two cases at least (docs/kill-matrix.md), and names
the one that explains a failure it has seen (``lion_ports.conformance.diagnosis``).
"""

from lion_ports.conformance.mutants import (
    averages,
    controls,
    decay,
    directions,
    gradients,
    groups,
    momentum,
    numbers,
    real_bugs,
    real_state,
    settings,
    sign,
    small,
    steps,
    training,
)
from lion_ports.conformance.mutants.making import Mutant

__all__ = ["CONTROLS", "MUTANTS", "Mutant"]

CONTROLS = controls.MUTANTS
"""Other optimizers altogether."""

MUTANTS: dict[str, Mutant] = {
    **sign.MUTANTS,
    **momentum.MUTANTS,
    **decay.MUTANTS,
    **numbers.MUTANTS,
    **steps.MUTANTS,
    **real_bugs.MUTANTS,
    **real_state.MUTANTS,
    **settings.MUTANTS,
    **groups.MUTANTS,
    **training.MUTANTS,
    **directions.MUTANTS,
    **gradients.MUTANTS,
    **averages.MUTANTS,
    **small.MUTANTS,
    **CONTROLS,
}
"""Mutant by name, the controls last."""
