"""Averaged parameters."""

from lion_ports.conformance.cases.streams import option_trial
from lion_ports.conformance.trial import Case

CASES = [
    Case(
        "option-ema",
        "L-029",
        "An average of each parameter follows its updates.",
        lambda: option_trial(ema_decay=0.9),
        ("ema-from-zero", "ema-late", "ema-swapped"),
    ),
    Case(
        "option-ema-bfloat16",
        "L-029",
        "The average of bfloat16 parameters is kept in float32.",
        lambda: option_trial("bfloat16", ema_decay=0.99),
        ("ema-in-parameter-dtype", "ema-from-zero", "ema-swapped"),
    ),
    Case(
        "option-ema-overwrite",
        "L-029",
        "Every third update is followed by the average.",
        lambda: option_trial(ema_decay=0.75, ema_overwrite_every=3),
        ("ema-ignored", "ema-from-zero", "ema-late"),
    ),
    Case(
        "option-ema-overwrite-bfloat16",
        "L-029",
        "The same in bfloat16: the parameter is the average, rounded once.",
        lambda: option_trial(
            "bfloat16", ema_decay=0.75, ema_overwrite_every=2, gradient_accumulation_steps=2
        ),
        ("ema-ignored", "ema-in-parameter-dtype"),
    ),
]
