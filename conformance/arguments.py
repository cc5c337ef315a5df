"""``--kwarg NAME=VALUE`` and ``--rename OURS=THEIRS``, as words and as what they mean."""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from lion_ports.errors import LionError

_WORDS = {"true": True, "false": False, "none": None}


class ArgumentError(LionError):
    """A word that is not NAME=VALUE."""


def renames(texts: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE texts as a dict.

    Raises:
        ArgumentError: there is no ``=``, or no name before it.
    """
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ArgumentError(f"{text!r} is not NAME=VALUE")
        pairs[name] = value
    return pairs


def kwargs(texts: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE texts with Python literals for values; anything else stays text.

    Raises:
        ArgumentError: as for ``renames``.

    >>> kwargs(["foreach=true", "eps=1e-8", "mode=plain"])
    {'foreach': True, 'eps': 1e-08, 'mode': 'plain'}
    """
    return {name: _value(text) for name, text in renames(texts).items()}


def words(kwargs: Mapping[str, Any], rename: Mapping[str, str]) -> tuple[str, ...]:
    """The words of the command line that mean just that.

    >>> words({"foreach": True, "mode": "1"}, {"lr": "rate"})
    ('--kwarg', 'foreach=True', '--kwarg', "mode='1'", '--rename', 'lr=rate')
    """
    given = [("--kwarg", f"{name}={_text(value)}") for name, value in kwargs.items()]
    given += [("--rename", f"{ours}={theirs}") for ours, theirs in rename.items()]
    return tuple(word for pair in given for word in pair)


def _value(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _text(value: Any) -> str:
    """What ``_value`` reads as this value; quotes only around texts that look like another."""
    return value if isinstance(value, str) and _value(value) == value else repr(value)
