"""Where settings come from: default < preset < TOML file < environment < flags."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w
from pydantic import ValidationError

from lion_ports.trainers.config import TrainConfig, hint, sentences
from lion_ports.trainers.errors import UsageError
from lion_ports.trainers.presets import DEFAULT_PRESET, OPTIMIZERS, PRESETS, preset_values

ENVIRONMENT = "LION_TRAIN_"


class Resolved(NamedTuple):
    """A configuration and, for each of its fields, where the value came from."""

    config: TrainConfig
    sources: dict[str, str]


class _Layer(NamedTuple):
    source: str
    values: Mapping[str, Any]


def resolve(
    flags: Mapping[str, Any],
    sets: tuple[str, ...] = (),
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Resolved:
    """Merge default < preset < TOML file < environment < flags (``--set`` is a flag).

    Args:
        flags: values by field name; None means not given.
        sets: ``"key=value"`` texts.
        file: a TOML file of top-level keys, such as the ``config.toml`` of a run.
        environment: ``LION_TRAIN_<KEY>`` variables; others are ignored.

    Raises:
        UsageError: one sentence that lists every problem with its source.
        DataError: if ``file`` cannot be read.
    """
    problems: list[str] = []
    layers = [
        _Layer(f"in {file}", _read_toml(file, problems) if file else {}),
        _Layer("from the environment", _from_environment(environment or {})),
        _Layer("from --set", _from_sets(sets, problems)),
        _Layer("from the command line", {k: v for k, v in flags.items() if v is not None}),
    ]
    given: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, values in layers:
        for name, value in values.items():
            if name in TrainConfig.model_fields:
                given[name], sources[name] = value, source
            else:
                problems.append(
                    f"unknown setting {name!r} {source}{hint(name, TrainConfig.model_fields)}"
                )
    values, sources = _with_preset(given, sources)
    try:
        config = TrainConfig.model_validate(values)
    except ValidationError as error:
        raise UsageError(*problems, *sentences(error, sources)) from None
    if problems:
        raise UsageError(*problems)
    return Resolved(config, sources)


def _with_preset(
    given: dict[str, Any], sources: dict[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Fill in the preset and the defaults; what a file has in place of a name may be anything,
    and the model reports it."""
    known = _one_of(tuple(PRESETS), given.get("preset"), DEFAULT_PRESET)
    brought = preset_values(known, _one_of(OPTIMIZERS, given.get("optimizer"), "lion"))
    values = brought | given
    named = {name: f"preset {known}" for name in brought} | sources
    if "warmup" not in given:
        # A short run is not all warm-up.
        with_steps = str(values["steps"])
        if with_steps.isdecimal() and int(with_steps) // 10 < values["warmup"]:
            values["warmup"] = int(with_steps) // 10
            named["warmup"] = "a tenth of steps"
    every = dict.fromkeys(TrainConfig.model_fields, "default")
    return values, every | named


def _one_of(names: tuple[str, ...], given: Any, otherwise: str) -> str:
    return given if given in names else otherwise


def show(resolved: Resolved) -> list[str]:
    """One line of TOML a setting, with its source as the comment."""
    values = resolved.config.model_dump(mode="json")
    lines = [
        tomli_w.dumps({name: value}, multiline_strings=False) for name, value in values.items()
    ]
    flat = [" ".join(line.split()).replace("[ ", "[").replace(", ]", "]") for line in lines]
    width = max(map(len, flat))
    return [
        f"{line:{width}}  # {resolved.sources[name]}"
        for line, name in zip(flat, values, strict=True)
    ]


def _read_toml(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        problems.append(f"--config {path} cannot be read: {error.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"--config {path} is not TOML: {error}")
    return {}


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix(ENVIRONMENT).lower(): value
        for name, value in environment.items()
        if name.startswith(ENVIRONMENT)
    }


def _from_sets(sets: tuple[str, ...], problems: list[str]) -> dict[str, str]:
    values = {}
    for text in sets:
        name, equals, value = text.partition("=")
        if equals:
            values[name.strip().replace("-", "_")] = value.strip()
        else:
            problems.append(f"--set {text}: key=value is expected")
    return values
