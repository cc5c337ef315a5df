"""The transformer in Equinox. The letters of the suffixes are explained in architecture.py."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array

from lion_ports.trainers.architecture import NORM_EPSILON, ROTARY_BASE, Architecture


class Transformer(eqx.Module):
    """Tokens ``[B, T]`` to float32 logits ``[B, T, V]``."""

    embedding: eqx.nn.Embedding
    blocks: list["Block"]
    norm: eqx.nn.RMSNorm

    def __init__(self, architecture: Architecture) -> None:
        self.embedding = eqx.nn.Embedding(architecture.vocabulary, architecture.width, key=_key())
        self.blocks = [Block(architecture) for _ in range(architecture.layers)]
        self.norm = _norm(architecture.width)

    def __call__(self, tokens_BT: Array) -> Array:
        x_BTD = self.embedding.weight[tokens_BT]
        for block in self.blocks:
            x_BTD = block(x_BTD)
        logits_BTV = _each(self.norm)(x_BTD) @ self.embedding.weight.T
        return logits_BTV.astype(jnp.float32)


class Block(eqx.Module):
    """Attention, then the feed-forward part, each on a normalised copy of the stream."""

    attention_norm: eqx.nn.RMSNorm
    attention: "Attention"
    feedforward_norm: eqx.nn.RMSNorm
    feedforward: "FeedForward"

    def __init__(self, architecture: Architecture) -> None:
        self.attention_norm = _norm(architecture.width)
        self.attention = Attention(architecture)
        self.feedforward_norm = _norm(architecture.width)
        self.feedforward = FeedForward(architecture)

    def __call__(self, x_BTD: Array) -> Array:
        x_BTD = x_BTD + self.attention(_each(self.attention_norm)(x_BTD))
        return x_BTD + self.feedforward(_each(self.feedforward_norm)(x_BTD))


class Attention(eqx.Module):
    """Causal attention with rotary positions."""

    heads: int = eqx.field(static=True)
    qkv: eqx.nn.Linear
    out: eqx.nn.Linear

    def __init__(self, architecture: Architecture) -> None:
        self.heads = architecture.heads
        self.qkv = _linear(architecture.width, 3 * architecture.width)
        self.out = _linear(architecture.width, architecture.width)

    def __call__(self, x_BTD: Array) -> Array:
        B, T, D = x_BTD.shape
        parts = jnp.split(_each(self.qkv)(x_BTD), 3, axis=-1)
        q_BTHK, k_BTHK, v_BTHK = (part.reshape(B, T, self.heads, -1) for part in parts)
        y_BTHK = jax.nn.dot_product_attention(
            rotate(q_BTHK), rotate(k_BTHK), v_BTHK, is_causal=True
        )
        return _each(self.out)(y_BTHK.reshape(B, T, D))


class FeedForward(eqx.Module):
    """SwiGLU."""

    gate: eqx.nn.Linear
    up: eqx.nn.Linear
    down: eqx.nn.Linear

    def __init__(self, architecture: Architecture) -> None:
        self.gate = _linear(architecture.width, architecture.hidden)
        self.up = _linear(architecture.width, architecture.hidden)
        self.down = _linear(architecture.hidden, architecture.width)

    def __call__(self, x_BTD: Array) -> Array:
        return _each(self.down)(jax.nn.silu(_each(self.gate)(x_BTD)) * _each(self.up)(x_BTD))


def rotate(x_BTHK: Array) -> Array:
    """Rotary positions: element i of the first half turns with element i of the second half."""
    T, K = x_BTHK.shape[1], x_BTHK.shape[3]
    half = jnp.arange(K // 2, dtype=jnp.float32)
    position_T1 = jnp.arange(T, dtype=jnp.float32)[:, None]
    angle_T1K = position_T1[..., None] * ROTARY_BASE ** (-2 * half / K)
    cos, sin = jnp.cos(angle_T1K), jnp.sin(angle_T1K)
    first, second = jnp.split(x_BTHK.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)
    return turned.astype(x_BTHK.dtype)


def loss(model: Transformer, tokens: Array) -> Array:
    """Mean cross-entropy of the last T of ``[B, T + 1]`` tokens, nats a token."""
    logits_BTV = model(tokens[:, :-1])
    nats_BT = optax.softmax_cross_entropy_with_integer_labels(logits_BTV, tokens[:, 1:])
    mean: Array = nats_BT.mean(axis=-1).mean()
    return mean


def _each(layer: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Equinox layers take one vector; this one takes ``[B, T, ...]``."""
    return jax.vmap(jax.vmap(layer))


def _linear(size_in: int, size_out: int) -> eqx.nn.Linear:
    return eqx.nn.Linear(size_in, size_out, use_bias=False, key=_key())


def _norm(width: int) -> eqx.nn.RMSNorm:
    return eqx.nn.RMSNorm(width, eps=NORM_EPSILON, use_bias=False)


def _key() -> Array:
    """Equinox asks for a key; the initial weights come from init.py and replace what it draws."""
    return jax.random.key(0)
