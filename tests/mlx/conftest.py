"""What the tests of the MLX port share."""

import pytest

mx = pytest.importorskip("mlx.core", reason="needs the extra 'mlx'")


@pytest.fixture(autouse=True)
def on_the_cpu():
    default = mx.default_device()
    mx.set_default_device(mx.cpu)
    yield
    mx.set_default_device(default)
