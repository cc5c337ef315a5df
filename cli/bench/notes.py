"""What is said below the tables."""

from typing import Any

from lion_ports.cli.bench.printed import counted

_ENOUGH = 0.5  # of a core
_AT_REST = "run it again on a machine at rest"


def of_machine(machine: dict[str, Any]) -> list[str]:
    """Whether other programs had so much of the machine that the figures mean nothing.

    Where only the load average is known, half of the cores have to be taken by it: our own last
    run is in it, and what waits for a moment.
    """
    cores, busy = machine["cores"], machine.get("busy_cores")
    if busy is None:
        load = machine.get("load_average", 0)
        if load <= max(_ENOUGH, cores / 2):
            return []
        return [
            f"the load average was {load:.1f} on {counted(cores, 'core')} when this began: unless "
            f"that was a run just before, the figures are not to be trusted; {_AT_REST}"
        ]
    if busy <= _ENOUGH:
        return []
    return [
        f"other programs kept {busy:.1f} of {counted(cores, 'core')} busy when this began: "
        f"the figures are not to be trusted; {_AT_REST}"
    ]


def of_case(case: dict[str, Any], result: dict[str, Any]) -> list[str]:
    """Who failed and why, who is not there, and what makes ours slower than it could be."""
    absent: dict[str, list[str]] = {}
    for entry in case["contenders"]:
        if entry["status"] != "measured":
            absent.setdefault(f"{entry['status']}: {entry['message']}", []).append(entry["name"])
    notes = [f"{'; '.join(names)} {why}" for why, names in absent.items()]
    if result["not_installed"]:
        notes.append(f"not installed: {', '.join(result['not_installed'])}")
    return [*notes, *result.get("notes", [])]


def warns(note: str) -> bool:
    """Whether a note is about something that is wrong."""
    return "failed" in note or _AT_REST in note
