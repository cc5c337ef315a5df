"""Which options of docs/spec.md each implementation offers, by the cases that it passes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, get_args, get_origin, get_type_hints

from lion_ports.config import LionConfig
from lion_ports.conformance.cases import CASES
from lion_ports.conformance.execution import PASSED, Level
from lion_ports.conformance.runner import Report, cores, run
from lion_ports.conformance.trial import Case, Trial

# Settings that every Lion has, as numbers.
_CORE = ("lr", "betas", "weight_decay")


@dataclass(frozen=True)
class Option:
    """An option with one of its values, and the cases in which it is on."""

    name: str
    cases: tuple[Case, ...]

    @property
    def rules(self) -> list[str]:
        """The rules of these cases."""
        return sorted({case.rule for case in self.cases})


def all_options() -> list[Option]:
    """Every setting of ``LionConfig`` beyond the core, by each value that a name stands for."""
    on: dict[str, list[Case]] = {name: [] for name in _names()}
    for case in CASES.values():
        if case.category not in ("errors", "long"):
            for name in _on(case.build()):
                on[name].append(case)
    own = {"option": 0, "state": 2}  # cases of the option itself first, of what is saved last
    return [
        Option(name, tuple(sorted(cases, key=lambda case: own.get(case.category, 1))))
        for name, cases in on.items()
    ]


def offered(
    options: Sequence[Option], impls: Sequence[str], level: Level, on_result: Callable[..., None]
) -> dict[str, Report]:
    """A report on each implementation over the cases of these options."""
    ids = {case.id for option in options for case in option.cases}
    cases = [case for case in CASES.values() if case.id in ids]
    return {impl: run(impl, cases, level, jobs=cores(), on_result=on_result) for impl in impls}


def verdict(option: Option, report: Report) -> str:
    """ "yes" if all cases of an option passed; else the first other outcome."""
    outcomes = {result.id: result.outcome for result in report.cases}
    found = [outcomes[case.id] for case in option.cases]
    other = [outcome for outcome in found if outcome not in PASSED]
    if not found:
        return "no case"
    return other[0] if other else "yes"


def as_dict(
    options: Sequence[Option], reports: Mapping[str, Report], level: Level
) -> dict[str, Any]:
    """For JSON."""
    return {
        "level": level,
        "implementations": list(reports),
        "options": [
            {
                "option": option.name,
                "rules": option.rules,
                "cases": [case.id for case in option.cases],
                **{impl: verdict(option, report) == "yes" for impl, report in reports.items()},
            }
            for option in options
        ],
    }


def _names() -> list[str]:
    names = ["lr=SCHEDULE", "weight_decay=SCHEDULE", "mask"]
    hints = get_type_hints(LionConfig)
    for field in fields(LionConfig):
        if field.name not in _CORE:
            values = [v for v in _literals(hints[field.name]) if v != field.default]
            names += [_name(field.name, value) for value in values]
            if not values or float in get_args(hints[field.name]):
                names.append(field.name)
    return names


def _literals(hint: Any) -> list[str]:
    """The words that a type allows, wherever in it."""
    found = [arg for arg in get_args(hint) if isinstance(arg, str)]
    return found + [word for arg in get_args(hint) if get_origin(arg) for word in _literals(arg)]


def _name(field: str, value: str) -> str:
    return f'{field}="{value}"'


def _on(trial: Trial) -> list[str]:
    if trial.compiled is not None:  # which asks what a compiler makes of an option, if there is one
        return []
    config = trial.config
    names = [f"{name}=SCHEDULE" for name in _CORE if callable(getattr(config, name))]
    names += ["mask"] if trial.mask is not None else []
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name not in _CORE and value != field.default:
            names.append(_name(field.name, value) if isinstance(value, str) else field.name)
    return names
