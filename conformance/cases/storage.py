"""What narrow and complex parameters must not lose."""

from functools import partial

import numpy as np

from lion_ports.config import LionConfig
from lion_ports.conformance.bits import DTYPES
from lion_ports.conformance.cases.numbers import mixed_dtypes
from lion_ports.conformance.cases.streams import Array, vector_steps
from lion_ports.conformance.trial import Case, Trial


def _small_decay(dtype: str, weight_decay: float) -> Trial:
    # x - lr*u vanishes, so that the decay alone is left, which beside 1 no short dtype can hold.
    x = np.array([1, -1, 1, -1], DTYPES[dtype])
    g = np.array([1, -1, 2, -4], DTYPES[dtype])
    config = LionConfig(lr=1.0, betas=(0.5, 0.75), weight_decay=weight_decay)
    return Trial({"x": x}, vector_steps([g], 1.0), config, exact=True)


def _complex_parts() -> Trial:
    # Every part is a small integer or a short fraction, and none has the phase of its sign.
    grads = ([4 + 3j, -8 + 1j, 2j, -4], [-1 - 8j, 1 + 1j, 4 - 2j, 8j], [0, -2j, -1 + 1j, 1])
    stream: list[Array] = [np.array(g, np.complex64) for g in grads]
    config = LionConfig(lr=0.25, betas=(0.5, 0.75), weight_decay=0.5)
    x = np.array([8 - 8j, 4j, -2, 1 + 1j], np.complex64)
    return Trial({"x": x}, vector_steps(stream, 0.25), config, exact=True)


CASES = [
    *(
        Case(
            f"dtype-{dtype}-decay",
            "L-008",
            f"A decay that {dtype} cannot hold beside 1 is not lost beside the direction.",
            partial(_small_decay, dtype, weight_decay),
            ("decay-below-one-lost", "per-operation-rounding"),
        )
        for dtype, weight_decay in (("bfloat16", 2.0**-10), ("float16", 2.0**-13))
    ),
    Case(
        "dtype-float16-gradient-float32",
        "L-005",
        "A float32 gradient leaves a float16 parameter and its momentum float16.",
        lambda: mixed_dtypes("float16", grad="float32"),
        ("momentum-like-gradient", "parameter-like-gradient", "betas-in-parameter-dtype"),
    ),
    Case(
        "dtype-complex64-parts",
        "L-014",
        "Complex parameters by hand: each part steps by its own sign, also where one is zero.",
        _complex_parts,
        ("complex-phase", "imaginary-dropped"),
    ),
]
