"""A trial and what the reference makes of it, as JSON of bit patterns."""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from lion_ports.config import LionConfig, scheduled
from lion_ports.conformance.bits import reals
from lion_ports.conformance.trial import Array, Case, Snapshot, Trial
from lion_ports.conformance.vectors.philox import Stream
from lion_ports.conformance.verdict import reference_run

SCHEMA = "lion-vector-1"
"""Name and version of the format; vector.schema.json describes it."""

# Expected arrays of a case are written out up to so many bytes in all; above, each is a sha256.
_WRITTEN_OUT = 2**16

_CORE = ("lr", "weight_decay")
_TOLD = ("exact", "defaults", "portable", "restart_at", "raises_at")
# The one NaN that stands for all (L-010), so that no file depends on a processor.
_NAN = {"float16": 0x7E00, "bfloat16": 0x7FC0, "float32": 0x7FC00000, "float64": 0x7FF8 << 48}


def encode(case: Case) -> dict[str, Any]:
    """The vector of a case, of which every step is written out."""
    trial = case.build()
    snapshots = reference_run(trial)
    size = sum(x.nbytes for s in snapshots for kind in s if kind for x in kind.values())
    return {
        **_head(case, trial),
        **_told(trial),
        "steps": [
            {
                **_rates(trial, i),
                "gradients": {n: None if g is None else array(g) for n, g in step.grads.items()},
                "expected": _expected(snapshots[i + 1], whole=size < _WRITTEN_OUT),
            }
            for i, step in enumerate(trial.steps)
        ],
    }


def encode_stream(case: Case, stream: Stream) -> dict[str, Any]:
    """The vector of a stream, whose gradients are described by their key."""
    trial = case.build()
    snapshots = reference_run(trial)
    head = _head(case, trial)
    described = {"dtype": stream.dtype, "shape": list(stream.shape), "philox": stream.seed}
    digest = hashlib.sha256()
    for snapshot in snapshots[1:]:
        for kind in (snapshot.params, snapshot.momentum or {}):
            for x in kind.values():
                digest.update(_little_endian(x))
    whole = trial.params["x"].nbytes < _WRITTEN_OUT
    return head | {
        "parameters": {"x": described},
        "stream": {
            "count": stream.length,
            **_rates(trial, 0),
            "gradients": {"x": described},
            "expected": {str(i): _expected(snapshots[i], whole=whole) for i in stream.shown},
            "sha256": digest.hexdigest(),
        },
    }


def as_text(vector: Mapping[str, Any]) -> str:
    """JSON with a line for each entry and each step."""
    lines = []
    for name, value in vector.items():
        inner = json.dumps(value)
        if name == "steps":
            inner = "[\n  " + ",\n  ".join(json.dumps(step) for step in value) + "\n ]"
        lines.append(f" {json.dumps(name)}: {inner}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def array(a: Array, *, whole: bool = True) -> dict[str, Any]:
    """An array in row-major order: its numbers' bit patterns, or the sha256 of its bytes.

    >>> array(np.float32([1, -0.0]))
    {'dtype': 'float32', 'shape': [2], 'bits': '3f800000 80000000'}
    """
    head = {"dtype": str(a.dtype), "shape": list(a.shape)}
    if not whole:
        return {**head, "sha256": hashlib.sha256(_little_endian(a)).hexdigest()}
    words = _words(a)
    digits = 2 * words.itemsize
    return {**head, "bits": " ".join(f"{word:0{digits}x}" for word in words.tolist())}


def scalar(value: Any) -> Any:
    """A float as the bit pattern of a float64; anything else as it is.

    >>> scalar(0.5)
    '3fe0000000000000'
    """
    if isinstance(value, tuple):
        return [scalar(one) for one in value]
    return struct.pack(">d", value).hex() if isinstance(value, float) else value


def _head(case: Case, trial: Trial) -> dict[str, Any]:
    parameters = {name: array(x) for name, x in trial.params.items()}
    for name, decays in (trial.mask or {}).items():
        parameters[name]["decays"] = decays
    return {
        "schema": SCHEMA,
        "id": case.id,
        "rule": case.rule,
        "settings": _settings(trial.config),
        "parameters": parameters,
    }


def _told(trial: Trial) -> dict[str, Any]:
    """What else it asks for; step 0 is a number to tell, though Python takes it for False."""
    values = {name: getattr(trial, name) for name in _TOLD}
    return {n: value for n, value in values.items() if value is not None and value is not False}


def _settings(config: LionConfig) -> dict[str, Any]:
    """The betas, and every option that is on."""
    on = {
        f.name: scalar(getattr(config, f.name))
        for f in fields(config)
        if f.name not in _CORE and getattr(config, f.name) != f.default
    }
    return {"betas": scalar(config.betas), **on}


def _rates(trial: Trial, i: int) -> dict[str, str]:
    """Learning rate and weight decay at a step, counted from 0."""
    updates = i // trial.config.gradient_accumulation_steps
    decay = float(scheduled("weight_decay", trial.config.weight_decay, updates))
    return {"lr": scalar(float(trial.steps[i].lr)), "weight_decay": scalar(decay)}


def _expected(snapshot: Snapshot, *, whole: bool) -> dict[str, Any]:
    kinds = {
        "parameters": snapshot.params,
        "momentum": snapshot.momentum,
        "average": snapshot.average,
    }
    return {
        kind: {name: array(x, whole=whole) for name, x in arrays.items()}
        for kind, arrays in kinds.items()
        if arrays is not None
    }


def _words(a: Array) -> Any:
    """The bit patterns as unsigned integers; a complex number is two of them."""
    flat = np.ascontiguousarray(reals(a)).ravel()
    words = flat.view(f"u{flat.itemsize}").copy()
    words[np.isnan(flat)] = _NAN[str(flat.dtype)]
    return words


def _little_endian(a: Array) -> bytes:
    words = _words(a)
    little: bytes = words.astype(words.dtype.newbyteorder("<")).tobytes()
    return little
