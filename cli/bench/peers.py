"""Look for what ``--peer`` names, in a process as the measurement's, before anything is measured.

That process sees the modules of the folder it is called in, which the command itself may not.
"""

from importlib import import_module
from typing import Any

from lion_ports.cli.bench.catalog import Contender
from lion_ports.cli.bench.measure import Tell
from lion_ports.errors import ConfigError


def measure(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Nothing, if all of them are there.

    A module that is there and cannot be imported is a result, and reported with the others.

    Raises:
        ConfigError: there is no such module, or nothing of that name in it.
    """
    for fields in request["contenders"]:
        peer = Contender(**fields)
        tell("finds", name=peer.name)
        if missing := _missing(*peer.target.split(":")):
            kind = "optax" if peer.backend == "jax" else peer.backend
            raise ConfigError(f"--peer {kind}:{peer.target}: {missing}")
    return {}


def _missing(module: str, name: str) -> str | None:
    try:
        found = hasattr(import_module(module), name)
    except ModuleNotFoundError as error:
        # Without this question: another module, which the peer needs.
        absent = f"{module}.".startswith(f"{error.name}.")
        return f"there is no module {error.name}" if absent else None
    except Exception:  # whatever it is, the measurement meets it again, and lists it
        return None
    return None if found else f"module {module} has no {name}"
