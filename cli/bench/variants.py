"""Our optimizers once more, with settings that the user wants to see measured."""

import ast
from collections.abc import Iterable
from dataclasses import fields, replace
from shlex import quote
from typing import Any

from lion_ports import checks
from lion_ports.cli.bench.catalog import Contender
from lion_ports.config import LionConfig
from lion_ports.errors import ConfigError


def variants(contenders: Iterable[Contender], texts: Iterable[str]) -> list[Contender]:
    """Each of ours with each of these settings.

    Args:
        contenders: those that take part.
        texts: as :func:`parse` takes them.

    Raises:
        ConfigError: a text is no setting, or there is none of ours.
    """
    ours = [contender for contender in contenders if contender.ours]
    found = []
    for text in dict.fromkeys(texts):
        settings = parse(text)
        if not ours:
            raise ConfigError(
                f"--with {quote(text)}: none of ours takes part; --only leaves them out"
            )
        for contender in ours:
            more = _as_optax_has_it(settings) if contender.backend == "jax" else settings
            kwargs = {**contender.kwargs, **more}
            found.append(replace(contender, name=f"{contender.name}, {text}", kwargs=kwargs))
    return found


def plain(name: str) -> str:
    """The name of one of ours without the options that :func:`variants` has added.

    >>> plain("lion-ports, mx.compile, clipnorm=1.0"), plain("lion-ports, mx.compile")
    ('lion-ports, mx.compile', 'lion-ports, mx.compile')
    """
    before, equals, _ = name.partition("=")
    return before.rpartition(", ")[0] if equals else name


def parse(text: str) -> dict[str, Any]:
    """Settings of Lion by name, written as in a call; words need no quotes.

    Raises:
        ConfigError: they are written otherwise, unknown or out of range; or the learning rate,
            which is the command's own.

    >>> parse("momentum_dtype=int8, betas=(0.9, 0.95)")
    {'momentum_dtype': 'int8', 'betas': (0.9, 0.95)}
    """
    try:
        call: Any = ast.parse(f"Lion({text})", mode="eval").body
        settings = {keyword.arg: _value(keyword.value) for keyword in call.keywords}
        written = bool(settings) and None not in settings and not call.args
    except (SyntaxError, ValueError, AttributeError):
        written = False
    if not written:
        raise ConfigError(f"--with {quote(text)}: write NAME=VALUE,NAME=VALUE, as in clipnorm=1.0")
    if "lr" in settings:
        raise ConfigError(f"--with {quote(text)}: the command sets the learning rate itself")
    known = [field.name for field in fields(LionConfig)]
    if strange := [name for name in settings if name not in known]:
        raise ConfigError(f"--with {quote(text)}: {checks.unknown(strange[0], known)}")
    try:
        LionConfig(**settings)
    except ConfigError as error:
        raise ConfigError(f"--with {quote(text)}: {error}") from error
    return settings


def _as_optax_has_it(settings: dict[str, Any]) -> dict[str, Any]:
    """The same settings by the names of the JAX port."""
    betas, momentum_dtype = settings.get("betas"), settings.get("momentum_dtype")
    own = {} if betas is None else {"b1": betas[0], "b2": betas[1]}
    own |= {} if momentum_dtype is None else {"mu_dtype": momentum_dtype}
    return {n: v for n, v in settings.items() if n not in ("betas", "momentum_dtype")} | own


def _value(node: ast.expr) -> Any:
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)
