"""Run cases from stdin with Keras' Lion and with ours; print the states of both as JSON.

Where a case has a handover, ours begins after so many steps, from the state of Keras.
"""

import json
import sys
from typing import Any

from cases import gradients, recorded, sides


def run(case: dict[str, Any]) -> dict[str, list[Any]]:
    """The states after every step; those of ours from the handover on."""
    theirs, ours = sides(case)
    handover = case.get("handover", 0)
    states: dict[str, list[Any]] = {"keras": [], "ours": []}
    for number, gs in enumerate(gradients(case)):
        if number == handover > 0:
            ours.restore(theirs.state())
        theirs.step(gs)
        states["keras"].append(recorded(theirs.state()))
        if number >= handover:
            ours.step(gs)
            states["ours"].append(recorded(ours.state()))
    return states


print(json.dumps({name: run(case) for name, case in json.load(sys.stdin).items()}))
