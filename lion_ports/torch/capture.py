"""CUDA graphs: a step that is captured in one is replayed without Python."""

import torch

from lion_ports.config import LionConfig
from lion_ports.errors import ConfigError
from lion_ports.torch.groups import Watch
from lion_ports.torch.jobs import Group


def refuse_capture(watched: list[tuple[Group, Watch]], config: LionConfig) -> None:
    """Raise a ConfigError if a graph is being captured that could not be replayed.

    Args:
        watched: the groups that take part in the step, with what is watched of them.
        config: settings of the optimizer.
    """
    if not (torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()):
        return
    decided = [f"a schedule of {name}" for _, watch in watched for name in watch.schedules]
    for group, _ in watched:
        options = {
            "ema_overwrite_every": group["ema_overwrite_every"] is not None,
            "momentum_dtype='int8'": group["momentum_dtype"] == "int8",
            "correction_bits=8": group["correction_bits"] == 8,
        }
        decided += [name for name, given in options.items() if given]
    whole = {
        "gradient_accumulation_steps": config.gradient_accumulation_steps > 1,
        f"nonfinite={config.nonfinite!r}": config.nonfinite != "propagate",
        "loss_scale='dynamic'": config.dynamic,
    }
    decided += [name for name, given in whole.items() if given]
    if decided:
        raise ConfigError(
            f"a captured step is replayed without Python, which {decided[0]} needs at every step; "
            f"make the step outside of the graph, or leave {decided[0]} out"
        )
