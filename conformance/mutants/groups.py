"""Wrong parameter groups: settings and momenta that go from one group to another."""

from collections.abc import Mapping
from typing import Any

from lion_ports.conformance.mutants.making import Array, Mutant
from lion_ports.conformance.variants import Variant, changed, own_settings


def _of_first(setting: str) -> Mutant:
    """One setting of the first group holds in all of them."""

    def grouped(lion: Variant, name: str) -> Mapping[str, Any]:
        own = dict(own_settings(lion, name))
        first = lion.groups[0][1] if lion.groups else {}
        own.pop(setting, None)
        return own | {key: value for key, value in first.items() if key == setting}

    words = {"lr": "learning rate", "weight_decay": "weight decay"}.get(setting, setting)
    return Mutant(
        f"the {words} of the first group is used in all", lambda: Variant(grouped=grouped)
    )


def _without_betas(lion: Variant, name: str) -> Mapping[str, Any]:
    return {key: value for key, value in own_settings(lion, name).items() if key != "betas"}


def _by_place() -> Variant:
    """A momentum is kept by the place of its parameter in its group, and by its shape."""
    lion = Variant()

    def slot(name: str, x: Array) -> str:
        for names, _ in lion.groups:
            if name in names:
                return f"{names.index(name)}{x.dtype}{x.shape}"
        return name

    lion.slot = slot
    return lion


def _change_of_all(lion: Variant, index: int, settings: Mapping[str, Any]) -> None:
    for k in range(len(lion.groups)):
        changed(lion, k, settings)


MUTANTS: dict[str, Mutant] = {
    "group-lr-of-first": _of_first("lr"),
    "group-betas-of-first": _of_first("betas"),
    "group-decay-of-first": _of_first("weight_decay"),
    "group-betas-ignored": Mutant(
        "the betas of a group are ignored", lambda: Variant(grouped=_without_betas)
    ),
    "group-momentum": Mutant(
        "groups share a momentum where their parameters have one place and shape", _by_place
    ),
    "group-change-ignored": Mutant(
        "what is set in a group later is ignored",
        lambda: Variant(changing=lambda lion, index, settings: None),
    ),
    "group-change-of-all": Mutant(
        "what is set in one group later is set in all", lambda: Variant(changing=_change_of_all)
    ),
}
"""Mutant by name."""
