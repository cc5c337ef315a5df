"""The update of one parameter (L-001), its direction (L-022, L-028) and its average (L-029)."""

from typing import get_args

import torch
from torch import Tensor

from lion_ports import checks
from lion_ports.config import LION, Nonlinearity, Rule, Scalars
from lion_ports.errors import ConfigError
from lion_ports.torch.arithmetic import (
    as_reals,
    bound_in,
    compute_dtype,
    divided,
    narrow,
    scalar,
    sign,
    stored,
    widen,
)
from lion_ports.torch.sharding import total


def direction(c: Tensor, rule: Rule, like: Tensor, out: Tensor | None = None) -> Tensor:
    """``u`` from ``c``: its sign (L-010), or what ``nonlinearity`` puts in its place (L-028)."""
    if rule.nonlinearity == "sign":
        return sign(c, out)
    v = c * rule.steepness
    if rule.nonlinearity == "tanh":
        return v.tanh()
    if rule.nonlinearity == "clip":
        return v.clamp(-1, 1)
    if rule.nonlinearity != "l2":
        raise ConfigError(*checks.choice("nonlinearity", rule.nonlinearity, get_args(Nonlinearity)))
    norm = total(v.square().sum(), like).sqrt()
    return v * norm.clamp(min=1).reciprocal()


def cautious(u: Tensor, g: Tensor, rule: Rule, like: Tensor) -> Tensor:
    """``u`` without what ``g`` opposes, and the rest enlarged to make up for it (L-022)."""
    agree = ((u > 0) & (g > 0)) | ((u < 0) & (g < 0))
    oppose = ((u > 0) & (g <= 0)) | ((u < 0) & (g >= 0))
    size = like.numel() * (2 if like.is_complex() else 1)
    scale = scalar(size, u) / scalar(total(agree.sum(), like) + 1, u)
    return scale.clamp(max=bound_in(rule.cautious_cap, u.dtype)) * u.masked_fill(oppose, 0)


def lion_update_(
    x: Tensor,
    g: Tensor,
    m: Tensor,
    scalars: Scalars,
    rule: Rule = LION,
    *,
    like: Tensor | None = None,
    scratch: Tensor | None = None,
) -> None:
    """One Lion update of one parameter, in place (L-001; Program 1 of the paper).

    Args:
        x: parameter, any shape and any floating or complex dtype; becomes the new parameter.
        g: gradient, same shape, any floating dtype; complex where ``x`` is.
        m: momentum as stored, same shape; becomes the new momentum.
        scalars: learning rate, betas and weight decay; numbers or 0-d tensors.
        rule: another direction or decay than Lion's own (L-022, L-023, L-028).
        like: the whole parameter, of which ``x`` is a shard; None: ``x`` itself.
        scratch: five rows in the compute dtype and shape of ``x`` for the temporaries of Lion's own
            rule; without it they are allocated, which for large tensors takes longer than the
            arithmetic.

    Raises:
        DtypeError: if ``x`` is neither floating nor complex.
        ConfigError: if ``rule`` has an unknown nonlinearity.

    >>> x, m = torch.tensor([1.0, 1, 1]), torch.tensor([0.5, -0.5, 0])
    >>> lion_update_(x, torch.tensor([1.0, 1, 0]), m, Scalars(lr=0.25, b1=0.5, b2=0.75, wd=0.5))
    >>> x, m
    (tensor([0.6250, 0.6250, 0.8750]), tensor([ 0.6250, -0.1250,  0.0000]))
    """
    like = x if like is None else like
    x, g, m = (as_reals(a) for a in (x, g, m))  # L-014

    dtype = compute_dtype(x.dtype)
    lr, b1, b2 = scalars[:3]  # L-006: torch rounds a float once, to the dtype of the tensor
    wd = _decay(scalars, dtype)
    if isinstance(lr, Tensor):
        lr = lr.to(dtype)
    a, b, *wide = (None,) * 5 if scratch is None else scratch.unbind()
    x_, g_, m_ = (widen(t, dtype, out) for t, out in zip((x, g, m), wide, strict=True))

    # L-007: one IEEE operation at a time, in this order.
    c = torch.add(torch.mul(m_, b1, out=a), torch.mul(g_, 1 - b1, out=b), out=a)
    u = direction(c, rule, like, out=b)
    if rule.cautious:
        u = cautious(u, g_, rule, like)
    if isinstance(wd, Tensor) or wd != 0:  # L-009
        in_place = not (isinstance(wd, Tensor) or rule.cautious_decay)
        decayed = torch.add(u, torch.mul(x_, wd, out=a), out=b if in_place else None)
        if isinstance(wd, Tensor):
            decayed = torch.where(wd == 0, u, decayed)
        if rule.cautious_decay:  # L-023
            same_way = ((u > 0) & (x_ > 0)) | ((u < 0) & (x_ < 0))
            decayed = torch.where(same_way, decayed, u)
        u = decayed
    new_x = torch.sub(x_, torch.mul(u, lr, out=b), out=b)
    x.copy_(narrow(new_x, x.dtype))
    new_m = torch.add(torch.mul(m_, b2, out=a), torch.mul(g_, 1 - b2, out=b), out=a)
    m.copy_(narrow(new_m, m.dtype))


def average_(e: Tensor, x: Tensor, decay: float, lr: float | Tensor) -> None:
    """Let an average follow an update by ``lr`` (L-029).

    Args:
        e: the average, in the compute dtype; becomes the new one.
        x: the new parameter as stored.
        decay: of the average.
        lr: of the update.
    """
    e, x = as_reals(e), as_reals(x)
    e.copy_(e * decay + widen(stored(x, lr), e.dtype) * (1 - decay))


def _decay(scalars: Scalars, dtype: torch.dtype) -> float | Tensor:
    """The coefficient of ``x`` beside ``u``: ``wd``, or ``wd / lr_peak`` (L-017)."""
    wd, peak = scalars.wd, scalars.lr_peak
    if peak is None and isinstance(wd, Tensor):
        return wd.to(dtype)
    if peak is None:  # what rounds to 0 is 0 (L-006)
        finfo = torch.finfo(dtype)
        return wd if wd > finfo.tiny * finfo.eps / 2 else 0.0
    quotient = divided(wd, peak, dtype)
    if isinstance(wd, Tensor) or not quotient.is_cpu:  # a device is not waited for
        return quotient
    return quotient.item()
