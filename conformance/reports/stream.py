"""What a case puts to an implementation, in words, and in hexadecimal where that is short."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from itertools import groupby
from typing import Any

import numpy as np

from lion_ports.config import LionConfig
from lion_ports.conformance.bits import hexadecimal, reals
from lion_ports.conformance.reports.words import short
from lion_ports.conformance.trial import Array, Trial

# Up to so many numbers a stream is shown whole; of a longer one, so many of the first step.
_WHOLE, _FIRST = 64, 4
_TENSORS = 8


def describe(trial: Trial) -> list[str]:
    """Lines on the settings, the parameters and the gradients of a trial."""
    if trial.refuse is not None:
        settings = ", ".join(f"{name}={value}" for name, value in trial.refuse.items())
        return [f"construct with {settings or 'integer parameters'}: that must be refused"]
    return [*_settings(trial), *_parameters(trial), *_notes(trial), *_numbers(trial)]


def _settings(trial: Trial) -> Iterator[str]:
    rates = [step.lr for step in trial.steps]
    low, high = min(rates), max(rates)
    rate = _hex(low) if low == high else f"from {_hex(low)} to {_hex(high)}"
    yield f"steps: {len(rates)}; learning rate: {rate}"
    changed = [
        f"{field.name}={_value(getattr(trial.config, field.name))}"
        for field in fields(LionConfig)
        if field.name != "lr" and getattr(trial.config, field.name) != field.default
    ]
    yield f"settings: {', '.join(changed) or 'the defaults'}"


def _settings_of(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_value(value)}" for name, value in settings.items())


def _value(value: Any) -> str:
    return "a schedule" if callable(value) else repr(value)


def _parameters(trial: Trial) -> Iterator[str]:
    kinds = [f"{name} {x.dtype}{list(x.shape)}" for name, x in trial.params.items()]
    more = f" and {len(kinds) - _TENSORS} more" if len(kinds) > _TENSORS else ""
    yield f"parameters: {', '.join(kinds[:_TENSORS])}{more}"


def _notes(trial: Trial) -> Iterator[str]:
    if trial.exact:
        yield "every operation is exact: all right ways of writing Lion give the same numbers"
    if trial.defaults:
        yield "constructed with the learning rate alone"
    if trial.mask is not None:
        yield f"decay: only {', '.join(name for name, on in trial.mask.items() if on) or 'none'}"
    for group in trial.groups:
        own = [_settings_of(group.settings) or "the settings of all"]
        own += [f"from step {i + 1} on {_settings_of(c)}" for i, c in group.changes.items()]
        yield f"group of {', '.join(group.names)}: {'; '.join(own)}"
    for name, steps in trial.frozen.items():
        yield f"frozen: {name}, at steps {steps.start + 1} to {steps.stop}"
    if trial.tied:
        yield f"names of one tensor: {', '.join(trial.tied)}"
    if trial.compiled:
        yield "compiled by the framework; from step 4 on nothing may be compiled again"
    if trial.restart_at is not None:
        how = "as a portable state" if trial.portable else "in the implementation's own way"
        yield f"saved {how}, and loaded into a fresh one, before step {trial.restart_at + 1}"
    if trial.raises_at is not None:
        yield f"step {trial.raises_at + 1} must raise, and move nothing"


def _numbers(trial: Trial) -> Iterator[str]:
    streams = [step.grads for step in trial.steps]
    arrays = [*trial.params.values(), *(g for step in streams for g in step.values())]
    whole = sum(array.size for array in arrays if array is not None) <= _WHOLE
    for name, x in list(trial.params.items())[: None if whole else 1]:
        yield f"before: {name} = {_some(x, whole)}"
    texts = [
        [f"g of {name} = {'none' if g is None else _some(g, whole)}" for name, g in step.items()]
        for step in streams
    ]
    if not whole:
        yield f"step 1: {texts[0][0]}, and so on"
        return
    for lines, same in groupby(enumerate(texts, start=1), key=lambda pair: pair[1]):
        first, *_, last = [number for number, _ in same] * 2
        steps = f"step {first}" if first == last else f"steps {first} to {last}"
        yield f"{steps}: {'; '.join(lines)}"


def _some(array: Array, whole: bool) -> str:
    flat = np.ravel(reals(array))
    shown = flat if whole else flat[:_FIRST]
    words = ", ".join(_hex(value) for value in shown)
    return f"[{words}{', ...' if len(shown) < len(flat) else ''}]"


def _hex(value: Any) -> str:
    return short(hexadecimal(value))
