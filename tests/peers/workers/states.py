"""Hand the runs of cases from stdin over to another optimizer; print the states of both as JSON."""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from cases import gradients, rate, recorded, sides

from lion_ports import LionConfig, PortableState, load_state, reference, save_state


def through_a_file(state: PortableState) -> PortableState:
    with TemporaryDirectory() as folder:
        save_state(path := Path(folder, "run.safetensors"), state)
        return load_state(path)


def elsewhere(case: dict[str, Any]) -> tuple[Any, Any]:
    """Both optimizers, with other parameters, so that what is not restored shows."""
    zeros = {name: np.zeros_like(x).tolist() for name, x in case["x"].items()}
    return sides(case | {"x": zeros})


class Reference:
    """The specification from a state on."""

    def __init__(self, case: dict[str, Any], state: PortableState) -> None:
        self.config = LionConfig(lr=rate(case), betas=tuple(case["betas"]), **case["ours"])
        self.params, self.kept = reference.import_state(state)

    def step(self, gs: dict[str, Any]) -> None:
        self.params, self.kept = reference.step(self.params, gs, self.kept, self.config)

    def state(self) -> PortableState:
        return reference.export_state(self.params, self.kept)


def run(case: dict[str, Any]) -> dict[str, Any]:
    """The last states of pairs of optimizers that went on from one state.

    Ours go on in Keras in float32 alone: it has no place for sums that are wider than bfloat16.
    """
    steps, handover = gradients(case), case["handover"]
    theirs, ours = sides(case)
    for gs in steps[:handover]:
        theirs.step(gs)
        ours.step(gs)
    begun = through_a_file(theirs.state())
    again, here = elsewhere(case)
    again.restore(begun)
    here.restore(begun)
    pairs = {
        "Keras to Keras": (theirs, again),
        "Keras to ours, and the specification": (Reference(case, begun), here),
        "Keras to ours": (theirs, here),
    }
    if case["dtype"] == "float32":
        there, _ = elsewhere(case)
        there.restore(through_a_file(ours.state()))
        pairs["ours to Keras"] = (ours, there)
    for one in {id(one): one for pair in pairs.values() for one in pair}.values():
        for gs in steps[handover:]:
            one.step(gs)
    return {name: [recorded(one.state()) for one in pair] for name, pair in pairs.items()}


print(json.dumps({name: run(case) for name, case in json.load(sys.stdin).items()}))
