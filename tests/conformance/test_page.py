"""How the numbers of docs/divergences.md are made anew."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from lion_ports.cli.conformance import main
from lion_ports.conformance.execution import Result
from lion_ports.conformance.reports.divergences import NEW, update
from lion_ports.conformance.runner import Report

PAGE = """# Divergences

Words that stay.

Made on a day
long ago.

## Summary

| implementation | version | passed | failed | not offered | behaves as |
| --- | --- | --- | --- | --- | --- |
| `optax:optax:lion` | 0.0.1 | 1 | 2 | 3 | |

Not run here: much.

## By implementation

### `optax:lion` of optax 0.0.1

An introduction
of two lines.

The decay is another.

    lion-conformance run --impl optax:optax:lion --case decay-alone

Fails: `decay-alone`, `decay-default`. Behaves as: `no-op`.

It is mended.

    lion-conformance run --impl optax:optax:lion --case basic-decay

Fails: `basic-decay`.

### `keras.optimizers:Lion` of keras 1.2 on jax

On jax.

    KERAS_BACKEND=jax lion-conformance run --impl keras:keras.optimizers:Lion --case betas-zero

Fails: `betas-zero`.
"""


def report(name, version, **outcomes):
    results = [
        Result(case.replace("_", "-"), "L-001", outcome, diagnosis=list(names))
        for case, (outcome, *names) in outcomes.items()
    ]
    return Report(name, "faithful", version, cases=results)


OPTAX = report(
    "optax:optax:lion", "0.2.8",
    basic_decay=("EXACT",), decay_default=("FAIL", "decay-by-default"), betas_zero=("ERROR",),
    errors_nan_lr=("UNSUPPORTED",), decay_random=("ULP",),
)  # fmt: skip
KERAS = "keras:keras.optimizers:Lion"


def test_numbers_are_new_and_sentences_stay():
    made = update(PAGE, [OPTAX])
    assert "Words that stay.\n\nMade on 20" in made
    assert "long ago" not in made
    assert "5 cases, level faithful" in " ".join(made.split())
    assert "| `optax:optax:lion` | 0.2.8 | 2 | 2 | 1 | `decay-by-default` |\n\nNot run" in made
    assert made.endswith(
        "### `optax:lion` of optax 0.2.8\n\nAn introduction\nof two lines.\n\n"
        "The decay is another.\n\n"
        "    lion-conformance run --impl optax:optax:lion --case decay-default\n\n"
        "Fails: `decay-default`. Behaves as: `decay-by-default`.\n\n"
        f"{NEW}\n\n"
        "    lion-conformance run --impl optax:optax:lion --case betas-zero\n\n"
        "Fails: `betas-zero`.\n"
    )
    assert update(made, [OPTAX]) == made


def test_one_name_on_two_backends_is_two_sections():
    reports = [report(KERAS, f"3 on {name}", betas_zero=("FAIL",)) for name in ("torch", "jax")]
    on_torch, on_jax = update(PAGE, reports).split("\n### ")[1:]
    assert NEW in on_torch
    assert "    KERAS_BACKEND=torch lion-conformance" in on_torch
    assert on_jax.startswith("`keras.optimizers:Lion` of keras 3 on jax\n\nOn jax.\n\n")


def test_a_section_without_failures_or_without_a_report_is_left_out():
    good = report("optax:optax:lion", "0.2.8", basic_decay=("EXACT",))
    assert "###" not in update(PAGE, [good])


@pytest.mark.parametrize("words", [["--case", "basic-*"], ["--package", "keras"], ["--fast"]])
def test_a_part_of_the_matrix_makes_no_page(words, tmp_path):
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    done = CliRunner().invoke(main, ["matrix", *words, "--page", str(path)])
    assert done.exit_code == 2
    assert path.read_text() == PAGE


def test_nothing_on_the_published_page_waits_for_a_sentence():
    page = Path(__file__).parents[2] / "docs" / "divergences.md"
    assert NEW not in page.read_text()
