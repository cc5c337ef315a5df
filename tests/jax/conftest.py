"""What the tests of lion_ports.jax share. Everything here needs the extra 'jax'."""

import numpy as np
import pytest

pytest.importorskip("jax", reason="needs the extra 'jax'")
pytest.importorskip("optax", reason="needs the extra 'jax'")
