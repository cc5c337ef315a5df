"""The state that all backends share, from and to MLX."""

from dataclasses import replace

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_map

from lion_ports import LionConfig, StateError, load_state, reference, save_state
from lion_ports.conformance.bits import same
from lion_ports.mlx import Lion, export_state, import_state
from lion_ports.mlx.state import from_numpy, to_numpy

OPTIONS = {
    "plain": {},
    "momentum": {"momentum_dtype": "bfloat16"},
    "everything": {
        "weight_decay": 0.25,
        "decay": "independent",
        "cautious": True,
        "gradient_accumulation_steps": 3,
        "ema_decay": 0.7,
        "loss_scale": "dynamic",
        "loss_scale_growth_interval": 3,
    },
}
SHAPES = {"embedding": (6, 3), "norm": (3,)}


def arrays(seed):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype("f") for name, shape in SHAPES.items()}


def tensors(seed):
    return {name: from_numpy(x) for name, x in arrays(seed).items()}


@pytest.mark.parametrize("option", OPTIONS)
def test_a_run_of_numpy_goes_on_in_mlx_and_back(option, tmp_path):
    options, path = OPTIONS[option], tmp_path / "state.safetensors"
    config = LionConfig(0.1, **options)
    params, state = arrays(0), reference.init(arrays(0), config)
    for seed in range(1, 6):
        params, state = reference.step(params, arrays(seed), state, config)
    save_state(path, reference.export_state(params, state))

    optimizer = Lion(0.1, **options)
    optimizer.init(tensors(0))
    xs = import_state(load_state(path), tensors(0), optimizer)
    for seed in range(6, 11):
        params, state = reference.step(params, arrays(seed), state, config)
        xs = optimizer.apply_gradients(tensors(seed), xs)
    save_state(path, export_state(xs, optimizer))

    params_, state_ = reference.import_state(load_state(path))
    assert state_._replace(momentum=0, average=0, gradient_sum=0) == state._replace(
        momentum=0, average=0, gradient_sum=0, lr_peak=state_.lr_peak
    )
    pairs = [(params_, params)]
    pairs += [(getattr(state_, n), getattr(state, n)) for n in ("momentum", "average")]
    pairs += [(state_.gradient_sum, state.gradient_sum)]
    for found, wanted in pairs:
        assert found.keys() == wanted.keys()
        for name, array in wanted.items():
            assert found[name].dtype == array.dtype
            assert same(found[name], array).all()


def test_names_are_the_dotted_paths_of_a_model():
    model, optimizer = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)), Lion()
    model.layers[0].freeze()
    optimizer.init(model.trainable_parameters())
    assert sorted(export_state(model, optimizer).momentum) == ["layers.1.bias", "layers.1.weight"]


def test_an_imported_model_goes_on_in_a_step_that_is_compiled_already():
    model, optimizer = nn.Linear(2, 1), Lion(0.5, nonfinite="skip")
    optimizer.init(model.trainable_parameters())

    def step(g):
        optimizer.update(model, {"bias": g})

    state = [model.state, optimizer.state]
    compiled = mx.compile(step, inputs=state, outputs=state)
    compiled(mx.ones(1))
    saved = export_state(model, optimizer)
    bias = model.bias.item()
    compiled(mx.ones(1))
    model.update(import_state(saved, model, optimizer))
    assert (model.bias.item(), optimizer.step.item()) == (bias, 1)
    compiled(mx.ones(1))
    assert (model.bias.item(), optimizer.step.item()) == (bias - 0.5, 2)


def test_each_group_gets_its_peak_back():
    def make(rate):
        groups = [{"params": lambda path, x: path == "norm", "learning_rate": rate / 2}]
        return Lion(rate, weight_decay=0.1, decay="independent", groups=groups)

    first, other = make(0.5), make(0.125)
    for optimizer in (first, other):
        optimizer.init(tensors(0))
    saved = export_state(tensors(0), first)
    assert saved.lr_peak == {"embedding": 0.5, "norm": 0.25}
    import_state(saved, tensors(0), other)
    assert [group.lr_peak.item() for group in other.groups] == [0.25, 0.5]
    apart = replace(saved, lr_peak={"embedding": 0.5, "norm": 0.3})
    alone = Lion(0.5, weight_decay=0.1, decay="independent")
    alone.init(tensors(0))
    with pytest.raises(StateError, match=r"several lr_peak, 0\.5 and 0\.3"):
        import_state(apart, tensors(0), alone)


def test_mlx_s_own_lion_gives_and_takes_it():
    theirs, ours, x = optim.Lion(0.5), Lion(0.5), tensors(0)
    x = theirs.apply_gradients(tensors(1), x)
    ours.init(x)
    moved = import_state(export_state(x, theirs), x, ours)
    back = optim.Lion(0.5)
    back.init(x)
    same_again = import_state(export_state(moved, ours), x, back)
    a, b, c = (
        optimizer.apply_gradients(tensors(2), tree)
        for optimizer, tree in ((theirs, x), (ours, moved), (back, same_again))
    )
    for name in SHAPES:
        assert mx.array_equal(a[name], c[name])
        assert mx.allclose(a[name], b[name], rtol=0, atol=2**-20)
        assert mx.array_equal(theirs.state[name]["m"], back.state[name]["m"])
    assert ours.step.item() == back.step.item() == 2


def test_averages_that_were_not_saved_begin_at_the_parameter():
    plain, averaging = Lion(), Lion(ema_decay=0.5)
    for optimizer in (plain, averaging):
        optimizer.init(tensors(0))
    import_state(export_state(tensors(7), plain), tensors(0), averaging)
    assert same(to_numpy(averaging.state["norm"]["average"]), arrays(7)["norm"]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"average": arrays(0)}, "is of an optimizer with ema_decay, and this one is without"),
        (
            {"micro": 1},
            "after 1 micro-steps, and this optimizer has gradient_accumulation_steps=1; make it",
        ),
        ({"loss_scale": 2.0}, "with loss_scale='dynamic', and this one"),
        ({"lr_peak": {"norm": 0.1}}, "with decay='independent', and this one"),
        (
            {
                "parameters": arrays(0) | {"w": np.ones(1)},
                "momentum": arrays(0) | {"w": np.ones(1)},
            },
            "has 'w', which is no parameter of this Lion",
        ),
        (
            {"parameters": {"norm": np.ones(3)}, "momentum": {"norm": np.ones(3)}},
            "the saved state has no parameter 'embedding'",
        ),
        (
            {n: arrays(0) | {"norm": np.ones(4)} for n in ("parameters", "momentum")},
            r"'norm' was saved with shape \(4,\), and has \(3,\)",
        ),
        (
            {n: arrays(0) | {"norm": np.ones(3, complex)} for n in ("parameters", "momentum")},
            "norm was saved as complex128, which MLX does not have",
        ),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, message):
    optimizer = Lion()
    optimizer.init(tensors(0))
    held = tree_map(mx.array, optimizer.state)
    saved = export_state(tensors(0), optimizer)
    with pytest.raises(StateError, match=message):
        import_state(replace(saved, count=5, **change), tensors(0), optimizer)
    assert tree_map(mx.array_equal, held, optimizer.state) == tree_map(lambda _: True, held)


@pytest.mark.parametrize("steps", [2, 3])
def test_a_window_is_not_cut_short(steps):
    first, x = Lion(gradient_accumulation_steps=4), tensors(0)
    for seed in range(3):
        first.apply_gradients(tensors(seed), x)
    for wider in (4, 5):
        other = Lion(gradient_accumulation_steps=wider)
        other.init(x)
        import_state(export_state(x, first), x, other)
        assert other.state["lion"]["micro"].item() == 3
    other = Lion(gradient_accumulation_steps=steps)
    other.init(x)
    message = rf"after 3 micro-steps, and this optimizer has gradient_accumulation_steps={steps}"
    with pytest.raises(StateError, match=message):
        import_state(export_state(x, first), x, other)


def test_a_model_of_other_dtypes_is_refused():
    optimizer, half = Lion(), tree_map(lambda x: x.astype(mx.bfloat16), tensors(0))
    optimizer.init(half)
    saved = export_state(half, optimizer)
    wide = Lion()
    wide.init(tensors(0))
    with pytest.raises(StateError, match=r"was saved as \S*bfloat16, and is \S*float32; convert"):
        import_state(saved, tensors(0), wide)
    assert import_state(saved, half, optimizer)["norm"].dtype == mx.bfloat16


def test_optimizers_that_have_no_such_state_are_refused():
    x = tensors(0)
    adam, multi = optim.Adam(0.1), optim.MultiOptimizer([Lion()])
    adam.init(x)
    for optimizer, message in [
        (Lion(), r"call optimizer\.init\(parameters\) first"),
        (adam, "state of 'embedding' is not that of a Lion"),
        (multi, "give one of its optimizers"),
    ]:
        with pytest.raises(StateError, match=message):
            export_state(x, optimizer)


def test_arguments_in_another_order_are_refused():
    x, optimizer = tensors(0), Lion()
    optimizer.init(x)
    saved = export_state(x, optimizer)
    for call, message in [
        (lambda: export_state(optimizer, x), "the optimizer is of type dict, not an optimizer of"),
        (lambda: export_state(optimizer, Lion()), "the parameters are of type Lion, not a tree of"),
        (lambda: import_state({"norm": x}, x, optimizer), "the portable state is of type dict"),
        (lambda: import_state(x, saved, optimizer), "the portable state is of type dict"),
        (lambda: import_state(saved, optimizer, x), "the optimizer is of type dict"),
        (lambda: import_state("run.safetensors", x, optimizer), "export_state or load_state ret"),
        (lambda: import_state(saved, None, optimizer), "the parameters are of type NoneType"),
    ]:
        with pytest.raises(StateError, match=message):
            call()
