"""Parameter groups of torch, and a compiled step that is counted."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from lion_ports.conformance.protocol import UnsupportedError
from lion_ports.conformance.trial import Group

Parameters = Mapping[str, torch.nn.Parameter]


def param_groups(
    params: Parameters, mask: Mapping[str, bool] | None, groups: tuple[Group, ...]
) -> list[dict[str, Any]]:
    """What an optimizer is made of; a mask becomes two groups."""
    if groups:
        return [{"params": _listed(params[n] for n in g.names), **g.settings} for g in groups]
    if mask is None:
        return [{"params": _listed(params.values())}]
    decaying = [p for n, p in params.items() if mask[n]]
    others = [p for n, p in params.items() if not mask[n]]
    return [{"params": decaying}, {"params": others, "weight_decay": 0.0}]


def _listed(params: Iterable[torch.nn.Parameter]) -> list[torch.nn.Parameter]:
    """Each once, as ``Module.parameters()`` has them: what is tied has two names there, too."""
    return list({id(p): p for p in params}.values())


def assign(group: dict[str, Any], settings: Mapping[str, Any]) -> None:
    """Other settings of a group; a tensor stays the tensor that it is."""
    for name, value in settings.items():
        if isinstance(group[name], Tensor):
            group[name].fill_(value)
        else:
            group[name] = value


class CompiledStep:
    """``torch.compile(step)``, and how many graphs it has made so far.

    Args:
        step: what to compile.
        code: by Inductor, as ``torch.compile`` does. Without it the graphs are run as they were
            captured: whether one has to be made again is known by then, in a tenth of the time.
    """

    def __init__(self, step: Callable[[], Any], *, code: bool) -> None:
        torch.compiler.reset()  # every case is a new optimizer, and the cache holds only a few
        self.graphs = 0
        self._backend = torch._dynamo.lookup_backend("inductor" if code else "eager")
        self._step = torch.compile(step, backend=self._compile)

    def __call__(self) -> Any:
        """Make the step.

        Raises:
            UnsupportedError: there is no compiler for the code that Inductor writes.
        """
        try:
            return self._step()
        except Exception as error:
            if "InvalidCxxCompiler" in f"{type(error).__name__}: {error}":
                raise UnsupportedError("compilation, which needs a C++ compiler") from error
            raise

    def _compile(self, graph: Any, inputs: Any) -> Any:
        self.graphs += 1
        return self._backend(graph, inputs)
