"""Import the framework and what ``--peer`` names, in a process as the measurement's, before that.

That process sees the modules of the folder it is called in, which the command itself may not.
"""

from importlib import import_module
from typing import Any

from lion_ports.cli.bench.catalog import Contender
from lion_ports.cli.bench.measure import Tell, sentence
from lion_ports.errors import ConfigError, install_command

_FRAMEWORK = {"torch": ("torch",), "jax": ("jax", "optax"), "mlx": ("mlx.core",)}


def measure(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Nothing, if all of them are there.

    A peer's module that is there and cannot be imported is a result, and reported with the others.

    Raises:
        BackendError: the framework cannot be imported.
        ConfigError: there is no such module, or nothing of that name in it.
    """
    _import(request["backend"])
    for fields in request["contenders"]:
        peer = Contender(**fields)
        tell("finds", name=peer.name)
        if missing := _missing(*peer.target.split(":")):
            kind = "optax" if peer.backend == "jax" else peer.backend
            raise ConfigError(f"--peer {kind}:{peer.target}: {missing}")
    return {}


def _import(backend: str) -> None:
    from lion_ports.trainers.errors import BackendError

    try:
        for module in _FRAMEWORK[backend]:
            import_module(module)
    except Exception as error:  # a library is missing, or made for another version or machine
        raise BackendError(
            f"the backend {backend} is installed but does not import ({sentence(error)}): "
            f"{install_command(backend)}, or name the others with --backend"
        ) from error


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
