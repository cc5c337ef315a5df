"""Help is quick: no command imports a framework for it."""

import subprocess
import sys
import textwrap

import pytest


@pytest.mark.parametrize(
    "words",
    [
        ("train", "--help"),
        ("train", "sample", "--help"),
        ("conformance", "--help"),
        ("conformance", "run", "--help"),
        ("conformance", "list"),
        ("bench", "--help"),
        ("bench", "step", "--help"),
        ("bench", "scaling", "--help"),
        ("bench", "train", "--help"),
    ],
    ids=" ".join,
)
def test_help_imports_no_framework(words):
    command, *arguments = words
    code = textwrap.dedent(f"""
        import sys
        sys.argv = ["command", *{arguments!r}]
        from lion_ports.cli import {command}
        try:
            {command}()
        except SystemExit as end:
            assert not end.code, end.code
        heavy = "torch jax jaxlib mlx keras optax equinox numba matplotlib scipy pydantic".split()
        found = [name for name in heavy if name in sys.modules]
        assert not found, found
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
