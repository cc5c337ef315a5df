"""What the Lions of other libraries do, where they are installed; prints it as JSON.

For each library its names (arguments, and what is in its module), and its answers to the rows of
docs/options.md that a few steps can answer.
"""

import json
import math
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from peers import Mlx, Optax, Peer, Torch

LIBRARIES: dict[str, tuple[str, Callable[[str], Peer]]] = {
    "lion-pytorch": ("lion_pytorch", Torch),
    "optimi": ("optimi", Torch),
    "bitsandbytes": ("bitsandbytes.optim", Torch),
    "optax": ("optax", Optax),
    "MLX": ("mlx.optimizers", Mlx),
}


def has_defaults_of_the_paper(peer: Peer) -> bool:
    paper: dict[str, Any] = {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0}
    usual = {name: parameter.default for name, parameter in peer.parameters.items()}
    return {name: usual.get(name) for name in paper} == paper


def shows_nan(peer: Peer) -> bool:
    return math.isnan(peer.step(peer.array([1.0]), peer.array([math.nan])).tolist()[0])


def stays(peer: Peer) -> bool:
    new: list[float] = peer.step(peer.array([1.0, 1.0]), peer.array([0.0, -0.0])).tolist()
    return new == [1.0, 1.0]


def rounds_once(peer: Peer) -> bool:
    one = peer.array([1.0], "bfloat16")
    new: list[float] = peer.step(one, peer.array([1.0], "bfloat16"), 1.5e-3, 1.0).tolist()
    return new == [0.99609375]


def complex_direction(peer: Peer) -> str:
    x, g = peer.array([1 + 1j], "complex64"), peer.array([3 + 4j], "complex64")
    try:
        new = peer.step(x, g).tolist()[0]
    except NotImplementedError as error:
        if "torch.sign is not intended to support complex numbers" not in str(error):
            raise  # it is something else that is missing
        return "refused"
    moved = complex(1 + 1j - new) / 0.25
    known = {"phase": 0.6 + 0.8j, "pairs": 1 + 1j, "real part": 1 + 4j}
    return next((name for name, u in known.items() if abs(moved - u) < 1e-6), str(moved))


def sparse_gradient(peer: Torch) -> str:
    try:
        peer.step(peer.array([1.0, 1.0]), peer.array([1.0, 0.0]).to_sparse())
    except RuntimeError:
        return "refused"
    return "taken"


def keeps_dtype(peer: Torch) -> bool:
    """Of a float32 momentum beside a bfloat16 parameter."""
    parameters = [peer.parameter(1.0, 1.0, "bfloat16") for _ in range(2)]
    saved, loaded = (peer.lion([p], lr=0.25) for p in parameters)
    saved.step()
    (state,) = saved.state.values()
    name = next(name for name in ("exp_avg", "state1") if name in state)
    state[name] = state[name].float()
    loaded.load_state_dict(saved.state_dict())
    (state,) = loaded.state.values()
    return bool(state[name].dtype == peer.torch.float32)


def independent_decay(peer: Peer) -> str:
    """Divided by the peak of each group, "yes"; by one for all, "part"."""
    options = {"decoupled_weight_decay", "decouple_lr"} & peer.parameters.keys()
    if not options or not isinstance(peer, Torch):
        return "no"
    p = peer.parameter(1.0, 0.0)
    group = {"params": [p], "lr": 0.5, "max_lr": 0.5}
    peer.lion([group], lr=0.25, weight_decay=2**-10, **dict.fromkeys(options, True)).step()
    return {1 - 2**-10: "yes", 1 - 2**-9: "part"}[p.item()]


def what_decays(peer: Peer) -> str | bool:
    if not isinstance(peer, Torch):
        return "mask" if "mask" in peer.parameters else False
    one, other = peer.parameter(1.0, 0.0), peer.parameter(1.0, 0.0)
    exempt = {"params": [other], "weight_decay": 0.0}
    peer.lion([{"params": [one]}, exempt], lr=0.25, weight_decay=0.5).step()
    return "groups" if one < 1 and other == 1 else False


def compiles_nothing(peer: Torch) -> bool:
    """For other rates, from the third step on."""
    peer.torch._dynamo.reset()
    optimizer = peer.lion([peer.parameter(1.0, 1.0)], lr=0.25)
    counter = import_module("torch._dynamo.testing").CompileCounter()
    step, counts = peer.torch.compile(optimizer.step, backend=counter), []
    for lr in (0.25, 0.2, 0.15, 0.1):
        optimizer.param_groups[0]["lr"] = lr
        step()
        counts.append(counter.frame_count)
    return bool(counts[1] == counts[3])


ANY: dict[str, Callable[[Peer], str | bool]] = {
    "schedule of `lr`": lambda peer: not peer.refuses(lr=lambda count: 0.25),
    "`lr = 0`": lambda peer: not peer.refuses(lr=0.0),
    "`lr` as a tensor": lambda peer: not peer.refuses(lr=peer.array(0.25)),
    "negative `lr` refused": lambda peer: peer.refuses(lr=-1.0),
    "the paper's defaults": has_defaults_of_the_paper,
    "schedule of weight decay": lambda peer: not peer.refuses(weight_decay=lambda count: 0.1),
    "independent decay": independent_decay,
    "what decays": what_decays,
    "a NaN gradient shows": shows_nan,
    "a direction of 0 stays": stays,
    "bfloat16 rounds once": rounds_once,
    "complex parameters": complex_direction,
}
OF_TORCH: dict[str, Callable[[Any], str | bool]] = {
    "another `lr` compiles nothing again": compiles_nothing,
    "momentum dtype kept on load": keeps_dtype,
    "sparse gradients": sparse_gradient,
}


def described(peer: Peer) -> dict[str, Any]:
    rows = ANY | (OF_TORCH if isinstance(peer, Torch) else {})
    return {
        "arguments": sorted(peer.parameters),
        "module": dir(peer.module),
        "answers": {row: answer(peer) for row, answer in rows.items()},
    }


warnings.simplefilter("ignore")  # of imaginary parts that are lost
installed = {n: of for n, of in LIBRARIES.items() if find_spec(of[0].partition(".")[0])}
print(json.dumps({name: described(make(module)) for name, (module, make) in installed.items()}))
