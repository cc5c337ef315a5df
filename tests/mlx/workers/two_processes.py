"""Train a little on the processes of mx.distributed; alone, with the gradients of two.

python two_processes.py FOLDER writes the parameters and the state there.
"""

import sys

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map

from lion_ports.mlx import Lion

STEPS = 6


def main(folder):
    mx.set_default_device(mx.cpu)
    group = mx.distributed.init()
    rank, size = group.rank(), group.size()
    mx.random.seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    batches = mx.random.normal((STEPS, 2, 16, 4))
    optimizer = Lion(
        2.0**-6,
        weight_decay=0.1,
        cautious=True,
        ema_decay=0.9,
        loss_scale="dynamic",
        gradient_accumulation_steps=2,
        global_clipnorm=1.0,
    )

    def loss(x):
        return (model(x) - x.sum(-1, keepdims=True)).square().mean() * optimizer.loss_scale

    loss_and_grad = nn.value_and_grad(model, loss)
    for halves in batches:
        if size == 2:
            gradients = nn.average_gradients(loss_and_grad(halves[rank])[1])
        else:
            each = [loss_and_grad(half)[1] for half in halves]
            gradients = tree_map(lambda a, b: (a + b) / 2, *each)
        optimizer.update(model, gradients)
        mx.eval(model, optimizer.state)
    found = {"model": model.parameters(), "state": optimizer.state}
    mx.savez(f"{folder}/{rank}-of-{size}.npz", **dict(tree_flatten(found)))


if __name__ == "__main__":
    main(sys.argv[1])
