"""Many small parameters of small state are updated as one: the bits are those of each alone."""

import ml_dtypes
import mlx.core as mx
import numpy as np
import pytest
from mlx_small import AVERAGED, INT8, assert_same, held, replay, tensors
from small_state import LR, SHAPES, SPECIAL

from lion_ports import LionConfig, reference
from lion_ports.mlx import Lion, step

SMALL = INT8 | {"correction_bits": 8}
FLOATS = {"h": np.float16, "b": ml_dtypes.bfloat16, "f": np.float32, "d": np.float64}


def draw(rng, dtypes=FLOATS):
    """Every shape in every dtype, most of them with something special at their end."""
    drawn = {}
    for i, shape in enumerate(SHAPES):
        for name, dtype in dtypes.items():
            array = np.asarray(2.0 ** rng.integers(-9, 2) * rng.standard_normal(shape))
            array.reshape(-1)[-3:] = rng.choice([*SPECIAL, 1, -1], array.size)[-3:]
            with np.errstate(over="ignore"):
                drawn[f"{name}{i}"] = np.asarray(array.astype(dtype))
    return drawn


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize(
    "options",
    [SMALL | AVERAGED, INT8 | {"correction_bits": 16}, SMALL | {"nonfinite": "skip"}],
    ids=str,
)
def test_a_mixture_of_shapes_and_dtypes(options, compiled):
    rng = np.random.Generator(np.random.Philox(21))
    params, grads = draw(rng), [draw(rng) for _ in range(4)]
    others = [np.float16, ml_dtypes.bfloat16, np.float32]  # than that of their parameter
    with np.errstate(over="ignore"):
        grads[1] = {
            n: np.asarray(g.astype(others[i % 3])) for i, (n, g) in enumerate(grads[1].items())
        }
    grads[2] = {n: np.nan_to_num(g, nan=0, posinf=1, neginf=-1) for n, g in grads[2].items()}
    replay(params, grads, options, compiled=compiled)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_more_than_are_joined_at_once(compiled):
    rng = np.random.Generator(np.random.Philox(22))
    sizes = [16384, 129, 16383, 1, *[16300] * 17]
    grads = [
        {f"p{i}": rng.standard_normal(n).astype(ml_dtypes.bfloat16) for i, n in enumerate(sizes)}
        for _ in range(3)
    ]
    replay(grads[0], grads[1:], SMALL, compiled=compiled)


def test_groups_keep_their_own_settings():
    rng = np.random.Generator(np.random.Philox(23))
    dtypes = {"b": ml_dtypes.bfloat16, "c": ml_dtypes.bfloat16}
    parts = {
        "b": LionConfig(LR, weight_decay=0.1, **SMALL),
        "c": LionConfig(LR / 4, betas=(0.5, 0.75), maximize=True, **SMALL),
    }
    of_c = {"params": lambda path, x: path[0] == "c", "learning_rate": LR / 4, "maximize": True}
    optimizer = Lion(
        LR,
        weight_decay=0.1,
        mask=lambda path, x: path[0] == "b",
        groups=[of_c | {"betas": (0.5, 0.75)}],
        **SMALL,
    )

    def part(arrays, name):
        return {n: a for n, a in arrays.items() if n[0] == name}

    params = draw(rng, dtypes)
    states = {n: reference.init(part(params, n), config) for n, config in parts.items()}
    xs = tensors(params)
    for _ in range(3):
        grads = draw(rng, dtypes)
        xs |= optimizer.apply_gradients(tensors(grads), xs)
        for name, config in parts.items():
            own = part(params, name), part(grads, name)
            new, states[name] = reference.step(*own, states[name], config)
            params |= new
    assert_same(xs, params)
    for of, arrays in held(optimizer).items():
        assert_same(arrays, getattr(states["b"], of) | getattr(states["c"], of))


def test_states_keep_their_own_dtypes():
    """As they were saved: of others than this optimizer would begin with."""
    x = {n: mx.array(np.linspace(-1, 1, 150), mx.bfloat16) for n in "abcd"}
    together = Lion(LR, correction_bits=8)
    alone = {n: Lion(LR, correction_bits=8) for n in x}
    together.init(x)
    together.state["b"]["m"] = mx.zeros(150)
    together.state["c"]["correction"] = mx.zeros(150, mx.int16)
    for n, optimizer in alone.items():
        optimizer.state[n] = dict(together.state[n])
    xs = dict(x)
    for _ in range(2):
        ys = {n: alone[n].apply_gradients({n: x[n]}, {n: xs[n]})[n] for n in x}
        xs = together.apply_gradients(x, xs)
        assert_same(xs, ys)
        for n, optimizer in alone.items():
            assert_same(together.state[n], optimizer.state[n])


@pytest.mark.parametrize(
    ("options", "sizes", "updates"),
    [
        (SMALL, range(1, 31), 1),
        (INT8 | {"nonlinearity": "clip", "cautious_decay": True}, range(1, 31), 1),
        (SMALL | {"cautious": True}, range(1, 31), 30),  # a parameter is looked at as a whole
        (SMALL | {"nonlinearity": "l2"}, range(1, 31), 30),
        (SMALL | {"gradient_accumulation_steps": 2}, range(1, 31), 30),  # each may be left alone
        ({}, range(1, 31), 30),
        (SMALL, [1 << 14] * 20, 2),  # so that not all is in memory at once
        (SMALL, [1 << 15] * 20, 20),
    ],
    ids=str,
)
def test_how_many_updates_are_made(options, sizes, updates, monkeypatch):
    """The number of operations is what small parameters cost."""
    moved = []

    def move(*args, **kwargs):
        moved.append(args)
        return made(*args, **kwargs)

    made = step.move
    monkeypatch.setattr(step, "move", move)
    x = {f"p{i}": mx.ones(n, mx.bfloat16) for i, n in enumerate(sizes)}
    Lion(**options).apply_gradients(x, x)
    assert len(moved) == updates
