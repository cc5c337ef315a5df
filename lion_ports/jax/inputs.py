"""What a step is given, looked at before anything is computed (L-020).

All of it but the numbers is known while JAX traces, so the checks cost a compiled step nothing.
"""

import reprlib
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array

from lion_ports import checks
from lion_ports.config import LionConfig, Schedulable
from lion_ports.errors import ConfigError
from lion_ports.jax.lion_state import LionState, is_corrected, named_leaves
from lion_ports.jax.storage import CORRECTIONS, scale_count

_MASK = "give a tree of bools, a prefix of one, or a function from the parameters to one"


class Parameters(NamedTuple):
    """The parameters of a step in a flat order, which all that belongs to them has as well.

    Attributes:
        names: their dotted paths.
        leaves: the parameters.
        treedef: the tree that they make.
    """

    names: list[str]
    leaves: list[Array]
    treedef: Any

    @classmethod
    def of(cls, tree: Any) -> Self:
        """The parameters in a tree."""
        leaves, treedef = jax.tree.flatten(tree)
        names = [name for name, _ in named_leaves(tree)]
        return cls(names, [jnp.asarray(x) for x in leaves], treedef)

    def beside(self, what: str, tree: Any) -> list[Any]:
        """For each parameter what a tree like them has, which may be None.

        Raises:
            ConfigError: it is no such tree.
        """
        try:
            leaves: list[Any] = self.treedef.flatten_up_to(tree)
        except ValueError:
            raise self._other_tree(what, tree) from None
        if not jax.tree_util.all_leaves([leaf for leaf in leaves if leaf is not None]):
            raise self._other_tree(what, tree)
        return leaves

    def kept(self, what: str, tree: Any) -> list[Array]:
        """For each parameter what a state keeps: floats of its shape, complex where it is.

        Raises:
            ConfigError: it is another.
        """
        leaves = self.beside(what, tree)
        for name, a, x in zip(self.names, leaves, self.leaves, strict=True):
            if not (hasattr(a, "dtype") and _kind(a) == _kind(x)):
                raise _unfit(what, name, a, x)
        return leaves

    def momentum(self, tree: Any, scales: Any) -> tuple[list[Array], list[Array | None]]:
        """For each parameter its momentum, and the scales of one that is int8 (L-031).

        Raises:
            ConfigError: as from :meth:`kept`; or the one does not go with the other.
        """
        ms = self.beside("momentum", tree)
        ss = [None] * len(ms) if scales is None else self.beside("momentum scales", scales)
        for name, m, s, x in zip(self.names, ms, ss, self.leaves, strict=True):
            small = _typed(m) == (jnp.int8, x.shape) and not jnp.iscomplexobj(x)
            if not (small or (hasattr(m, "dtype") and _kind(m) == _kind(x))):
                raise _unfit("momentum", name, m, x)
            if _typed(s) != ((jnp.bfloat16, (scale_count(x.size),)) if small else None):
                raise _unfit("mu_scale", name, s, m, beside="momentum")
        return ms, ss

    def corrections(self, tree: Any, config: LionConfig) -> list[Array | None]:
        """For each parameter its correction, if it has one (L-032).

        Raises:
            ConfigError: it has another, or none; or it has one without the option.
        """
        cs = [None] * len(self.leaves) if tree is None else self.beside("corrections", tree)
        for name, c, x in zip(self.names, cs, self.leaves, strict=True):
            if c is not None and config.correction_bits is None:
                raise ConfigError(
                    f"the state has a correction of {name}, which is left behind without "
                    "correction_bits; give that to fused_lion, or drop it on purpose with "
                    "state._replace(correction=None)"
                )
            has = config.correction_bits is not None and is_corrected(x)
            if _typed(c) not in ([(dtype, x.shape) for dtype in CORRECTIONS] if has else [None]):
                raise _unfit("correction", name, c, x)
        return cs

    def tree(self, leaves: list[Any]) -> Any:
        """The tree like the parameters that has these leaves."""
        return self.treedef.unflatten(leaves)

    def _other_tree(self, what: str, tree: Any) -> ConfigError:
        paths = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda node: node is None)
        names = [jax.tree_util.keystr(p, simple=True, separator=".") for p, _ in paths]
        if lost := [name for name in self.names if name not in names]:
            why = f"they have none of {lost[0]!r}"
        elif extra := [name for name in names if name not in self.names]:
            why = f"they have one of {extra[0]!r}, which is no parameter"
        else:
            why = "they are in other containers, a list for a tuple, say"
        return ConfigError(f"the {what} are no tree like the parameters: {why}")


def check_state(state: Any, grads: Any, config: LionConfig) -> None:
    """Refuse a state that is not what ``init`` makes for these settings.

    Raises:
        ConfigError: it is no LionState, or it lacks what an option needs, or it has what no option
            would bring forward.
    """
    if not isinstance(state, LionState):
        swapped = "; gradients and state are swapped" if isinstance(grads, LionState) else ""
        raise ConfigError(
            f"the state is of type {type(state).__name__}, not the LionState that init(params) "
            f"makes (that of optax.lion becomes one by export_state and import_state){swapped}"
        )
    options = {
        "gradient_accumulation_steps > 1": (
            config.gradient_accumulation_steps > 1,
            ("micro", "grad_sum", "seen"),
        ),
        "ema_decay": (config.ema_decay is not None, ("average",)),
        "loss_scale='dynamic'": (config.dynamic, ("loss_scale", "good_steps")),
        "decay='independent'": (config.decay == "independent", ("lr_peak",)),
    }
    problems = []
    for option, (is_on, names) in options.items():
        there = [name for name in names if getattr(state, name) is not None]
        if is_on and (lost := [name for name in names if name not in there]):
            problems.append(
                f"the state has no {' and no '.join(lost)}, which {option} needs; make it with "
                "init(params) of this optimizer, or by import_state"
            )
        elif there and not is_on:
            nones = ", ".join(f"{name}=None" for name in there)
            problems.append(
                f"the state has {' and '.join(there)}, which is left behind without {option}; give "
                f"that to the optimizer, or drop it on purpose with state._replace({nones})"
            )
    if problems:
        raise ConfigError(*problems)


def number(name: str, value: Any) -> Any:
    """A setting of this step: a number >= 0, of which only the shape is known where it is traced.

    Raises:
        ConfigError: it is another thing (L-015).
    """
    if callable(value):
        raise ConfigError(f"{name} is a function, where a number or a scalar array is needed")
    if problems := checks.schedulable(name, value):
        raise ConfigError(*problems)
    if jnp.iscomplexobj(value):
        raise ConfigError(f"{name} is complex, where a number >= 0 is needed")
    return value


def scheduled(name: str, value: Schedulable, count: Array) -> Any:
    """A setting at this count of updates, looked at where a schedule gives it (L-015)."""
    return number(name, value(count)) if callable(value) else value


def decaying(mask: Any, params: Any) -> list[bool]:
    """For each parameter, whether it decays (L-017).

    Raises:
        ConfigError: the mask, or what it gives as a function, does not say that.
    """
    if mask is None:
        return [True] * len(jax.tree.leaves(params))
    mask = mask(params) if callable(mask) else mask
    if problems := mask_problems(mask):
        raise ConfigError(*problems)
    try:
        return [bool(leaf) for leaf in jax.tree.leaves(jax.tree.broadcast(mask, params))]
    except ValueError:
        raise ConfigError(f"mask is no tree like the parameters; {_MASK}") from None


def mask_problems(mask: Any) -> list[str]:
    """A mask has nothing but True and False in it."""
    return [
        f"mask{'' if leaf is mask else f' of {name}'} = {reprlib.repr(leaf)} is neither True nor "
        f"False; {_MASK}"
        for name, leaf in named_leaves(mask)
        if checks.is_traced(leaf) or not isinstance(checks.plain(leaf), bool)
    ][:1]


def _unfit(what: str, name: str, found: Any, x: Any, beside: str = "parameter") -> ConfigError:
    return ConfigError(
        f"the {what} of {name} in the state is {_described(found)}, and its {beside} "
        f"{_described(x)}; make the state with init(params), of these parameters"
    )


def _kind(array: Any) -> tuple[Any, ...]:
    kinds = (jnp.complexfloating, jnp.floating)
    return array.shape, *(jnp.issubdtype(array.dtype, kind) for kind in kinds)


def _typed(array: Any) -> tuple[Any, ...] | None:
    return None if array is None else (getattr(array, "dtype", type(array)), jnp.shape(array))


def _described(array: Any) -> str:
    shaped = hasattr(array, "dtype")
    return f"{array.dtype}{list(array.shape)}" if shaped else reprlib.repr(array)
