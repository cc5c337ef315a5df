"""The states of other Lions become ours, and theirs again, with every bit (L-030)."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lion_ports import PortableState

DTYPES = st.sampled_from([np.float32, np.float16, ml_dtypes.bfloat16])
SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)
NAMES = st.sampled_from(["w", "b", "gain"])
PAIRS = st.tuples(DTYPES, DTYPES)
property_test = settings(max_examples=30, deadline=None, derandomize=True)


@st.composite
def states(draw, dtypes=PAIRS):
    """Parameters of one dtype and momenta of one, of any bits: NaN, infinities, subnormals."""
    numbers = np.random.default_rng(draw(st.integers(0, 2**32)))
    shapes = draw(st.dictionaries(NAMES, SHAPES, min_size=1))

    def any_bits(shape, dtype):
        size = np.dtype(dtype).itemsize
        return np.frombuffer(numbers.bytes(size * int(np.prod(shape))), dtype).reshape(shape)

    parameters, momentum = (
        {name: any_bits(shape, dtype) for name, shape in shapes.items()} for dtype in draw(dtypes)
    )
    return PortableState(parameters, momentum, count=draw(st.integers(0, 1000)))


def same(found, state):
    """Whether names, shapes, dtypes and every bit are the same."""
    one, other = (
        [
            {name: (a.shape, str(a.dtype), a.tobytes()) for name, a in of.items()}
            for of in (kept.parameters, kept.momentum)
        ]
        for kept in (found, state)
    )
    return one == other


def zeros(state):
    return {name: np.zeros_like(x) for name, x in state.parameters.items()}


@given(states(DTYPES.map(lambda dtype: (dtype, dtype))))  # torch loads a momentum as that
@property_test
def test_exp_avg_of_lion_pytorch(state):
    torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
    theirs = pytest.importorskip("lion_pytorch", reason="needs the extra 'peers'").Lion
    from lion_ports.torch import Lion, export_state, import_state
    from lion_ports.torch.state import from_numpy, to_numpy

    passed = state
    for kind in (theirs, Lion, theirs):
        named = [(name, torch.nn.Parameter(from_numpy(x))) for name, x in zeros(state).items()]
        optimizer = kind([p for _, p in named])
        import_state(passed, named, optimizer)
        held = {name: to_numpy(optimizer.state[p]["exp_avg"]) for name, p in named}
        assert same(PortableState(passed.parameters, held), state)
        passed = export_state(named, optimizer)
        assert same(passed, state)


@given(states())
@property_test
def test_mu_of_optax(state):
    jax = pytest.importorskip("jax", reason="needs the extra 'jax'")
    optax = pytest.importorskip("optax", reason="needs the extra 'jax'")
    from lion_ports.jax import export_state, import_state, lion

    passed = state
    for optimizer in (optax.lion(1e-3), lion(), optax.lion(1e-3)):
        params = jax.tree.map(jax.numpy.asarray, zeros(state))
        params, kept = import_state(passed, params, optimizer.init(params))
        mu = optax.tree_utils.tree_get(kept, "mu")
        held = {name: np.asarray(m) for name, m in mu.items()}
        assert same(PortableState(passed.parameters, held), state)
        passed = export_state(params, kept)
        assert same(passed, state)
        assert passed.count == state.count


@given(states())
@property_test
def test_m_of_mlx(state):
    pytest.importorskip("mlx.core", reason="needs the extra 'mlx'")
    from mlx import optimizers

    from lion_ports.mlx import Lion
    from lion_ports.mlx.state import export_state, from_numpy, import_state, to_numpy

    passed = state
    for optimizer in (optimizers.Lion(1e-3), Lion(), optimizers.Lion(1e-3)):
        parameters = {name: from_numpy(x) for name, x in zeros(state).items()}
        optimizer.init(parameters)
        parameters = import_state(passed, parameters, optimizer)
        held = {name: to_numpy(optimizer.state[name]["m"]) for name in parameters}
        assert same(PortableState(passed.parameters, held), state)
        passed = export_state(parameters, optimizer)
        assert same(passed, state)
        assert passed.count == state.count
