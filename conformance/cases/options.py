"""Storage of the momentum, decay, ascent, and gradients that are not finite."""

import math
from dataclasses import replace
from functools import partial

from lion_ports.conformance.cases.streams import option_trial, spoiled
from lion_ports.conformance.trial import Case, Trial


def _raise(at: int, value: float) -> Trial:
    return replace(spoiled(option_trial(nonfinite="raise"), {at: value}), raises_at=at)


CASES = [
    *(
        Case(
            f"option-momentum-{momentum}-of-{dtype}",
            "L-016",
            f"The momentum of {dtype} parameters is stored in {momentum}.",
            partial(option_trial, dtype, momentum_dtype=momentum),
            ("momentum-in-parameter-dtype",),
        )
        for dtype, momentum in (
            ("bfloat16", "float32"),
            ("float16", "float32"),
            ("float32", "bfloat16"),
            ("float64", "bfloat16"),
        )
    ),
    Case(
        "option-maximize",
        "L-018",
        "Ascends; the decay still pulls towards zero.",
        lambda: option_trial(maximize=True),
        ("maximize-ignored", "maximize-grows"),
    ),
    Case(
        "option-maximize-clipped",
        "L-018",
        "The same after clipping, in bfloat16.",
        lambda: option_trial("bfloat16", maximize=True, clipvalue=0.5),
        ("maximize-ignored", "maximize-grows", "clip-ignored"),
    ),
    Case(
        "option-decay-independent",
        "L-017",
        "Decays by wd*lr/lr_peak: at the peak by the whole of wd, whatever the learning rate.",
        lambda: option_trial(
            rates=[2.0**-8, 2.0**-7, 2.0**-6, 2.0**-7, 0.0],
            decay="independent",
            lr_peak=2.0**-6,
            weight_decay=0.05,
        ),
        ("independent-ignored", "independent-of-first-lr"),
    ),
    Case(
        "option-decay-independent-beyond",
        "L-017",
        "Beyond its peak the learning rate decays by more than the whole of wd.",
        lambda: option_trial(
            rates=[2.0**-7, 2.0**-6, 2.0**-5, 2.0**-4],
            decay="independent",
            lr_peak=2.0**-6,
            weight_decay=0.1,
        ),
        ("independent-ignored", "independent-of-first-lr"),
    ),
    Case(
        "option-decay-schedule",
        "L-017",
        "The weight decay is a schedule of the count of updates: 1/4, 1/2, 3/4, ...",
        lambda: option_trial(weight_decay=lambda count: 0.25 * (count + 1)),
        ("decay-schedule-late", "decay-of-first-step", "decay-missing"),
    ),
    Case(
        "option-nonfinite-skip",
        "L-019",
        "A step with a NaN or infinite gradient is left out for every parameter.",
        lambda: spoiled(option_trial(nonfinite="skip"), {2: math.nan, 5: math.inf}),
        ("skip-ignored", "skip-one-parameter"),
    ),
    Case(
        "option-nonfinite-raise",
        "L-019",
        "A step with an infinite gradient raises, and the next one goes on as if it had not been.",
        lambda: _raise(3, math.inf),
        ("raise-ignored",),
    ),
    Case(
        "option-nonfinite-raise-first",
        "L-019",
        "The same at the first step, with a NaN: there is no state yet that could be kept.",
        lambda: _raise(0, math.nan),
        ("raise-ignored",),
    ),
]
