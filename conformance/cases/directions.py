"""Cautious updates and decay, and other directions than the sign."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from lion_ports.config import LionConfig
from lion_ports.conformance.cases.streams import f32, option_trial, vector_steps
from lion_ports.conformance.trial import Array, Case, Trial


def _dyadic(x: Array, grads: Iterable[Array], lr: float = 2.0**-3, **options: Any) -> Trial:
    """Short numbers all along, so that every right way of writing the rule gives the same bits."""
    config = LionConfig(lr=lr, betas=(0.5, 0.75), **options)
    return Trial({"x": x}, vector_steps(grads, lr), config, exact=True)


def _few_agree(**options: Any) -> Trial:
    # One element in 64 goes on in its direction, and the gradient opposes all others.
    rng = np.random.Generator(np.random.Philox(60))
    reversal = np.where(np.arange(64) == 7, 1.0, -0.01)
    grads = [np.ones(64), reversal, reversal, rng.standard_normal(64), -reversal]
    config = LionConfig(lr=2.0**-6, weight_decay=0.1, cautious=True, **options)
    stream = vector_steps([g.astype(np.float32) for g in grads], 2.0**-6)
    return Trial({"x": np.linspace(-2, 2, 64, dtype=np.float32)}, stream, config)


def _unscaled_decay() -> Trial:
    # m = 1: the second gradients agree with one element of four, which is enlarged by 4/2.
    grads = [f32(4, 4, 4, 4), f32(2, -0.5, -0.5, -0.5), f32(-1, -1, 1, 0)]
    return _dyadic(f32(1, 2, -4, 8), grads, weight_decay=0.5, cautious=True)


def _undecided_decay() -> Trial:
    # No direction, and no parameter: neither is pulled anywhere.
    grads = [f32(0, 4, 4, -4), f32(0, -2, 4, 4)]
    return _dyadic(f32(4, 2, -2, 0), grads, weight_decay=0.5, cautious_decay=True)


def _ball() -> Trial:
    # c = +-2 in four elements has norm 4, and +-1/8 in the next step lies inside the ball.
    grads = [f32(4, -4, 4, -4), f32(3, -3, 3, -3), f32(-1.375, 1.375, -1.375, 1.375)]
    return _dyadic(f32(1, 1, -1, 0), grads, nonlinearity="l2")


CASES = [
    Case(
        "option-cautious",
        "L-022",
        "What the gradient opposes stays, and the rest is enlarged by n/(k+1).",
        lambda: option_trial(cautious=True),
        ("cautious-ignored", "cautious-unscaled", "cautious-mean", "cautious-by-momentum"),
    ),
    Case(
        "option-cautious-cap",
        "L-022",
        "One element in 64 agrees: it is enlarged by 10, not by 32.",
        lambda: _few_agree(),
        ("cautious-uncapped", "cautious-ignored", "cautious-unscaled"),
    ),
    Case(
        "option-cautious-cap-of-four",
        "L-022",
        "The same with a cap of 4.",
        lambda: _few_agree(cautious_cap=4.0),
        ("cautious-uncapped", "cautious-cap-ignored"),
    ),
    Case(
        "option-cautious-decay-unscaled",
        "L-022",
        "The decay acts on all elements, masked or not, and is not enlarged.",
        _unscaled_decay,
        ("cautious-decay-scaled", "cautious-mean", "cautious-by-momentum"),
    ),
    Case(
        "option-cautious-bfloat16",
        "L-022",
        "A cautious update of bfloat16 parameters, computed in float32.",
        lambda: option_trial("bfloat16", cautious=True),
        ("cautious-ignored", "cautious-unscaled"),
    ),
    Case(
        "option-cautious-complex64",
        "L-022",
        "Of a complex parameter, both parts are counted together.",
        lambda: option_trial("complex64", cautious=True),
        ("cautious-parts-apart", "cautious-ignored"),
    ),
    Case(
        "option-cautious-complex64-cap",
        "L-022",
        "The same, where a cap of 17/16 is reached by some updates and not by others.",
        lambda: option_trial("complex64", cautious=True, cautious_cap=1.0625),
        ("cautious-parts-apart", "cautious-cap-ignored"),
    ),
    Case(
        "option-cautious-decay",
        "L-023",
        "Only what the direction pulls towards zero decays.",
        lambda: option_trial(weight_decay=0.5, cautious_decay=True),
        ("cautious-decay-ignored", "cautious-decay-reversed"),
    ),
    Case(
        "option-cautious-decay-zero",
        "L-023",
        "Where there is no direction, or no parameter, there is no decay.",
        _undecided_decay,
        ("cautious-decay-ignored", "cautious-decay-undecided", "cautious-decay-reversed"),
    ),
    Case(
        "option-cautious-both",
        "L-023",
        "Cautious in both: what was left out of the direction does not decay.",
        lambda: option_trial(weight_decay=0.5, cautious=True, cautious_decay=True),
        ("cautious-decay-ignored", "cautious-decay-undecided", "cautious-unscaled"),
    ),
    Case(
        "option-tanh",
        "L-028",
        "The direction is tanh(3*c).",
        lambda: option_trial(nonlinearity="tanh", steepness=3.0),
        ("nonlinearity-ignored", "steepness-ignored"),
    ),
    Case(
        "option-clip",
        "L-028",
        "The direction is 4*c, within [-1, 1].",
        lambda: option_trial(nonlinearity="clip", steepness=4.0),
        ("nonlinearity-ignored", "steepness-ignored"),
    ),
    Case(
        "option-clip-bfloat16",
        "L-028",
        "The same for bfloat16 parameters with a float32 momentum.",
        lambda: option_trial(
            "bfloat16", nonlinearity="clip", steepness=4.0, momentum_dtype="float32"
        ),
        ("nonlinearity-ignored", "steepness-ignored"),
    ),
    Case(
        "option-l2",
        "L-028",
        "The direction is c, or its projection on the unit ball, tensor by tensor.",
        lambda: option_trial(scale=3.0, nonlinearity="l2"),
        ("nonlinearity-ignored", "l2-normalised"),
    ),
    Case(
        "option-l2-exact",
        "L-028",
        "The same with norms of 4 and 1/4: only the first is projected.",
        _ball,
        ("nonlinearity-ignored", "l2-normalised"),
    ),
]
