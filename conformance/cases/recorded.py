"""Gradients of a real run: a transformer on Python's own sources, recorded by ``lion-train``.

lion-train --backend torch --device cpu --dtype DTYPE --steps 24 --warmup 4 --lr 0.002
    --batch-size 16 --set layers=1 --set width=16 --set heads=2 --set hidden=40
    --record-gradients 24
"""

from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path

from lion_ports.config import LionConfig
from lion_ports.conformance.trial import Case, Step, Trial
from lion_ports.streams import GradientStream, load_stream

SUFFIX = ".safetensors"


def stream_case(path: str) -> Case:
    """The case that a file of ``lion-train --record-gradients`` is; its id is the path.

    Raises:
        StreamError: the file cannot be read or used.
    """
    stream = load_stream(path)
    source = stream.source.get("backend", "an unnamed program")
    reason = f"{len(stream)} steps recorded from a run on {source}."
    return Case(path, "L-001", reason, partial(_as_recorded, stream))


def _as_recorded(stream: GradientStream) -> Trial:
    mask = {name: name not in stream.undecayed for name in stream.parameters}
    return _trial(stream, mask if stream.undecayed else None)


def _trial(stream: GradientStream, mask: Mapping[str, bool] | None = None) -> Trial:
    steps = [Step(grads, lr) for grads, lr in zip(stream.gradients, stream.rates, strict=True)]
    config = LionConfig(lr=stream.rates[0], betas=stream.betas, weight_decay=stream.weight_decay)
    return Trial(stream.parameters, steps, config, mask)


@cache
def _shipped(dtype: str) -> GradientStream:
    return load_stream(Path(__file__).with_name(f"recorded-{dtype}{SUFFIX}"))


CASES = [
    Case(
        "recorded-float32",
        "L-001",
        "A real run in float32, whose learning rate rises and falls.",
        lambda: _trial(_shipped("float32")),
        ("decay-coupled", "epsilon", "direction-kept", "momentum-through-float16"),
    ),
    Case(
        "recorded-bfloat16",
        "L-008",
        "The same run in bfloat16, parameters, gradients and momentum.",
        lambda: _trial(_shipped("bfloat16")),
        ("per-operation-rounding", "rounded-between", "betas-in-parameter-dtype"),
    ),
    Case(
        "recorded-gains-undecayed",
        "L-017",
        "The run in float32 as it was made: the gains of the norms do not decay.",
        lambda: _as_recorded(_shipped("float32")),
        ("mask-ignored",),
    ),
]
