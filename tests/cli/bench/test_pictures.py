"""What the pictures of ``lion-bench`` say, read from the words of an SVG, and where it stands."""

import os
import re

import pytest
from bench_results import QUICK, words

pytestmark = pytest.mark.usefixtures("measured_once")

STEP = ("step", "--backend", "mlx", "--shapes", "2x128", *QUICK)
PAIR = ("--only", "lion-ports", "--only", "mlx Lion")
LONG = "momentum_dtype=int8,betas=(0.9, 0.95),global_clipnorm=1.0,nonfinite=skip"


@pytest.mark.parametrize(
    ("slow", "ratio", "logarithmic"),
    [(30.0, "0.033x", False), (31.0, "0.032x", True), (12_345.0, "0.0016x", True)],
)
def test_an_outlier_hides_nobody(slow, ratio, logarithmic, bench, folder, takes):
    takes(**{"lion-ports": slow, "mlx Lion": 20.0 if slow > 1_000 else 1.0})
    code, out, _ = bench(*STEP, *PAIR, "--plot", "all.svg")
    assert code == 0
    assert ("ms, on a logarithmic axis" in words(folder)) is logarithmic
    assert ratio in out  # the picture has the precision of the table
    (label,) = [line for line in words(folder) if f"({ratio})" in line]
    assert label.startswith(f"{slow:,.0f}" if slow > 1_000 else f"{slow:#.3g} ms")


def test_ratios_of_the_picture_are_those_of_the_table(bench, folder, takes):
    takes(**{"lion-ports": 8.0, "mlx Lion": 5.421})
    code, out, _ = bench(*STEP, *PAIR, "--plot", "all.svg")
    assert code == 0
    assert "0.68x" in out
    assert "8.00 ms  (0.68x)" in words(folder)


def test_of_bandwidth_has_two_digits_where_it_is_small(bench, takes):
    takes(**{"lion-ports": 1e5})
    code, out, _ = bench(*STEP, "--only", "lion-ports")
    assert code == 0
    (row,) = [line for line in out.splitlines() if line.startswith("  lion-ports ")]
    assert "0.00 " not in row
    assert re.search(r" \d\.\de-\d\d ", row)


def test_the_picture_has_conditions_and_notes(bench, folder, monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (300.0, 0.0, 0.0))
    code, _, _ = bench(
        *STEP, *PAIR, "--peer", "mlx:mine:Raises", "--dtype", "bfloat16", "--plot", "all.svg"
    )
    assert code == 0
    said = words(folder)
    assert "mlx on cpu: one step of 256 parameters in 2 tensors" in said
    assert "1 interleaved round, 1 thread, bfloat16; mlx Lion = 1x" in said
    assert "the figures are not to be trusted; run it again on a machine at rest" in " ".join(said)
    assert "mlx: mine:Raises failed: ArithmeticError: mine cannot do this" in said


def test_options_are_to_the_same_without(bench, folder, takes):
    takes(**{"lion-ports": 1.0, "lion-ports, clipnorm=1.0": 4.0})
    code, _, _ = bench(*STEP, "--only", "lion-ports", "--with", "clipnorm=1.0", "--plot", "all.svg")
    assert code == 0
    assert "1 interleaved round, 1 thread, float32; lion-ports = 1x" in words(folder)
    assert "4.00 ms  (0.25x)" in words(folder)


@pytest.mark.parametrize(
    "arguments",
    [
        (*STEP, *PAIR),
        (*STEP, *PAIR, "--with", LONG),
        ("scaling", "--backend", "mlx", "--max", "1000", "--total", "10", *PAIR, "--with", LONG,
         *QUICK),
    ],
    ids=["step", "step-long", "scaling-long"],
)  # fmt: skip
def test_nothing_touches_an_edge(arguments, bench, folder):
    from matplotlib.image import imread

    code, _, _ = bench(*arguments, "--plot", "all.png")
    assert code == 0
    pixels = imread(folder / "all.png")[..., :3].copy()
    inner = pixels[10:-10, 10:-10]
    assert inner.min() < 0.3  # something is drawn
    inner[:] = 1
    assert pixels.min() == 1
