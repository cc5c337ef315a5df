"""export_state and import_state: a run goes on anywhere, with the same bits."""

import dataclasses

import ml_dtypes
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from lion_ports import StateError  # noqa: E402
from lion_ports.state import load_state, save_state  # noqa: E402
from lion_ports.torch import Lion, export_state, import_state  # noqa: E402

OPTIONS = {
    "plain": {"weight_decay": 0.1},
    "schedule": {"lr": lambda step: 0.01 / (step + 1), "weight_decay": lambda step: 0.1 * step},
    "independent": {"decay": "independent", "weight_decay": 0.1},
    "momentum": {"momentum_dtype": "float32"},
    "accumulation": {"gradient_accumulation_steps": 2},
    "average": {"ema_decay": 0.9, "ema_overwrite_every": 3},
    "dynamic": {"loss_scale": "dynamic", "loss_scale_growth_interval": 2},
}


class OtherLion(torch.optim.Optimizer):
    """Program 1 as others write it: the state is exp_avg, made at the first gradient."""

    def __init__(self, params, lr=0.01, betas=(0.9, 0.99)):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                state = self.state[p]
                if len(state) == 0:
                    state["exp_avg"] = torch.zeros_like(p)
                m = state["exp_avg"]
                p.sub_(group["lr"] * (m * b1 + p.grad * (1 - b1)).sign())
                m.mul_(b2).add_(p.grad * (1 - b2))


def make_model(dtype=torch.float32):
    torch.manual_seed(0)
    return torch.nn.Linear(3, 5).to(dtype)


def train(model, optimizer, seeds, whole=False):
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        for p in model.parameters():
            g = torch.randn(p.shape, generator=generator).to(p.dtype)
            p.grad = g.mul(4).round() if whole else g
        optimizer.step()


def with_zeros(model):
    for p in model.parameters():
        torch.nn.init.zeros_(p)
    return model


@pytest.mark.parametrize("settings", OPTIONS.values(), ids=OPTIONS)
def test_a_run_goes_on_from_its_file(settings, bits, tmp_path):
    model, other = make_model(torch.bfloat16), with_zeros(make_model(torch.bfloat16))
    optimizer = Lion(model.parameters(), **{"lr": 0.01} | settings)
    train(model, optimizer, range(3))
    save_state(tmp_path / "run.safetensors", export_state(model, optimizer))
    resumed = Lion(other.parameters(), **{"lr": 0.01} | settings)
    import_state(load_state(tmp_path / "run.safetensors"), other, resumed)
    train(model, optimizer, range(3, 7))
    train(other, resumed, range(3, 7))
    assert bits(list(other.parameters())) == bits(list(model.parameters()))
    assert bits(resumed.state_dict()) == bits(optimizer.state_dict())


def test_what_is_exported():
    model = make_model(torch.bfloat16)
    settings = {"momentum_dtype": "float32", "decay": "independent", "ema_decay": 0.9}
    optimizer = Lion(
        model.parameters(), lr=0.5, weight_decay=0.1, gradient_accumulation_steps=2, **settings
    )
    train(model, optimizer, range(3))
    state = export_state(model.named_parameters(), optimizer)
    assert (state.count, state.micro, state.seen) == (1, 1, {"weight": 1, "bias": 1})
    assert state.lr_peak == {"weight": 0.5, "bias": 0.5}
    assert state.parameters["weight"].dtype == ml_dtypes.bfloat16
    for of in (state.momentum, state.average, state.gradient_sum):
        assert of["weight"].dtype == np.float32
    before = state.parameters["weight"].tobytes()
    train(model, optimizer, range(3, 6))
    assert state.parameters["weight"].tobytes() == before  # a copy


def test_a_parameter_without_a_gradient_has_a_momentum_of_zeros(parameter):
    p = parameter(1.0, dtype=torch.bfloat16)
    m = export_state([("p", p)], Lion([p], momentum_dtype="float32")).momentum["p"]
    assert (m.dtype, m.tolist()) == (np.float32, [0.0])


def test_what_was_not_saved_begins_anew(bits):
    model, other = make_model(), make_model()
    plain, averaging = Lion(model.parameters()), Lion(other.parameters(), ema_decay=0.9)
    train(model, plain, range(2))
    train(other, averaging, range(3))
    import_state(export_state(model, plain), other, averaging)
    assert averaging.param_groups[0]["count"] == 2
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert bits([q, averaging.state[q]["average"]]) == bits([p, p])


def test_complex_parameters(bits):
    runs = []
    for _ in range(2):
        p = torch.nn.Parameter(torch.ones(3, dtype=torch.complex64))
        runs.append((p, Lion([p], lr=0.1, ema_decay=0.5)))
    (p, optimizer), (q, other) = runs
    p.grad = torch.tensor([1 + 2j, -1j, 0])
    optimizer.step()
    import_state(export_state([("p", p)], optimizer), [("p", q)], other)
    assert bits([q, other.state_dict()]) == bits([p, optimizer.state_dict()])


@pytest.mark.parametrize("source", [OtherLion, "lion_pytorch"])
def test_runs_of_other_lions_go_on_here_and_back(source, bits):
    """With small whole gradients and such betas no step is rounded, whatever its order."""
    if source == "lion_pytorch":
        reason = "needs the extra 'peers'"
        source = pytest.importorskip("lion_pytorch", reason=reason).Lion
    settings = {"lr": 0.25, "betas": (0.5, 0.75)}
    model, here, back = make_model(), with_zeros(make_model()), with_zeros(make_model())
    theirs, ours, again = (
        source(model.parameters(), **settings),
        Lion(here.parameters(), **settings),
        source(back.parameters(), **settings),
    )
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.mul(64).round() / 64)
    train(model, theirs, range(2), whole=True)
    import_state(export_state(model, theirs), here, ours)
    for one, optimizer in ((model, theirs), (here, ours)):
        train(one, optimizer, [2], whole=True)
    import_state(export_state(here, ours), back, again)
    for one, optimizer in ((model, theirs), (back, again)):
        train(one, optimizer, [3], whole=True)
    assert bits([list(back.parameters()), again.state_dict()]) == bits(
        [list(model.parameters()), theirs.state_dict()]
    )


def refused(message, portable, parameters, optimizer):
    """The error, and that nothing has moved."""
    before = [p.detach().clone() for group in optimizer.param_groups for p in group["params"]]
    with pytest.raises(StateError, match=message):
        import_state(portable, parameters, optimizer)
    after = [p for group in optimizer.param_groups for p in group["params"]]
    assert all(torch.equal(p, q) for p, q in zip(before, after, strict=True))
    assert not optimizer.state


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("no parameter 'bias'", lambda s: {k: {"weight": s[k]["weight"]} for k in s}),
        (
            "has 'more', which is no parameter",
            lambda s: {k: s[k] | {"more": np.ones(1)} for k in s},
        ),
        (r"shape \(2,\), and has \(5,\)", lambda s: {k: s[k] | {"bias": np.ones(2)} for k in s}),
        (
            "as torch.float64, and is torch.float32",
            lambda s: {k: s[k] | {"bias": np.ones(5)} for k in s},
        ),
    ],
)
def test_a_state_of_another_model_is_refused(message, change):
    model = make_model()
    state = export_state(model, Lion(model.parameters()))
    changed = change({"parameters": dict(state.parameters), "momentum": dict(state.momentum)})
    other = with_zeros(make_model())
    portable = dataclasses.replace(state, **changed)
    refused(message, portable, other, Lion(other.parameters()))


@pytest.mark.parametrize(
    ("option", "settings"),
    [
        ("ema_decay", {"ema_decay": 0.5}),
        ("loss_scale='dynamic'", {"loss_scale": "dynamic"}),
        ("decay='independent'", {"decay": "independent"}),
    ],
)
def test_an_option_that_is_part_of_the_state_is_not_lost(option, settings):
    model, other = make_model(), with_zeros(make_model())
    optimizer = Lion(model.parameters(), **settings)
    train(model, optimizer, range(3))
    portable = export_state(model, optimizer)
    refused(f"with {option}, and this one is without", portable, other, Lion(other.parameters()))
    refused("OtherLion without them", portable, other, OtherLion(other.parameters()))


def test_a_parameter_without_a_name_is_refused(parameter):
    p, q = parameter(1.0), parameter(1.0, 2.0)
    with pytest.raises(StateError, match=r"a parameter of shape \(2,\) that has no name"):
        export_state([("p", p)], Lion([p, q]))


@pytest.mark.parametrize(
    ("steps", "micro", "words"),
    [(1, 2, "at every step; make it with gradient_accumulation_steps=3"), (2, 3, "every 2 micro")],
)
def test_a_window_is_not_cut_short(steps, micro, words):
    model, other = make_model(), with_zeros(make_model())
    optimizer = Lion(model.parameters(), gradient_accumulation_steps=4)
    train(model, optimizer, range(micro))
    shorter = Lion(other.parameters(), gradient_accumulation_steps=steps)
    words = f"{micro} micro-steps into an update, and this one makes an update .*{words}"
    refused(words, export_state(model, optimizer), other, shorter)


OTHERS = {
    "AdamW": torch.optim.AdamW,
    "SGD": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
    "Adamax": torch.optim.Adamax,
    "Adadelta": torch.optim.Adadelta,
}


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("name", OTHERS)
def test_other_optimizers_are_refused(name, begun):
    model = make_model()
    optimizer = OTHERS[name](model.parameters())
    if begun:
        train(model, optimizer, [0])
    with pytest.raises(StateError, match=f"{name} is no Lion"):
        export_state(model, optimizer)
    portable = export_state(other := with_zeros(make_model()), Lion(other.parameters()))
    before = model.weight.detach().clone()
    with pytest.raises(StateError, match=f"{name} is no Lion"):
        import_state(portable, model, optimizer)
    assert torch.equal(model.weight, before)


class Signs(torch.optim.Optimizer):
    """What another may call it."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.0})

    step = OtherLion.step


def test_another_lion_is_known_by_its_state_whatever_its_name():
    model = make_model()
    optimizer = Signs(model.parameters())
    with pytest.raises(StateError, match=r"Signs is no Lion .* it has no state yet"):
        export_state(model, optimizer)
    train(model, optimizer, [0])
    assert export_state(model, optimizer).momentum["bias"].any()


def test_a_wrapper_of_ours_is_no_other_lion(parameter):
    class Wrapper(torch.optim.Optimizer):
        def __init__(self, optimizer):
            self.state, self.param_groups = optimizer.state, optimizer.param_groups

    p = parameter(1.0)
    optimizer = Lion([p])
    optimizer.step()
    with pytest.raises(StateError, match=r"Wrapper wraps a .*; give the Lion itself"):
        export_state([("p", p)], Wrapper(optimizer))


def test_a_group_that_joins_later_counts_on_with_the_others(parameter):
    p, late = parameter(1.0), parameter(1.0)
    optimizer = Lion([p])
    optimizer.step()
    optimizer.add_param_group({"params": [late], "lr": 0.5})
    optimizer.step()
    assert export_state([("p", p), ("late", late)], optimizer).count == 2


def test_several_peaks_need_several_groups(parameter):
    p, q = parameter(1.0), parameter(1.0)
    names = [("p", p), ("q", q)]
    groups = [{"params": [p], "lr": 0.5}, {"params": [q], "lr": 0.25}]
    portable = export_state(names, Lion(groups, decay="independent"))
    assert portable.lr_peak == {"p": 0.5, "q": 0.25}
    refused(r"several lr_peak, \[0\.25, 0\.5\]", portable, names, Lion([p, q], decay="independent"))
