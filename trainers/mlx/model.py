"""The transformer in mlx.nn. The letters of the suffixes are explained in architecture.py."""

import mlx.core as mx
import mlx.nn as nn

from lion_ports.trainers.architecture import NORM_EPSILON, ROTARY_BASE, Architecture


class Transformer(nn.Module):
    """Tokens ``[B, T]`` to float32 logits ``[B, T, V]``."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.embedding = nn.Embedding(architecture.vocabulary, architecture.width)
        self.blocks = [Block(architecture) for _ in range(architecture.layers)]
        self.norm = nn.RMSNorm(architecture.width, eps=NORM_EPSILON)

    def __call__(self, tokens_BT: mx.array) -> mx.array:
        x_BTD = self.embedding(tokens_BT)
        for block in self.blocks:
            x_BTD = block(x_BTD)
        logits_BTV = self.embedding.as_linear(self.norm(x_BTD))
        logits_float32: mx.array = logits_BTV.astype(mx.float32)
        return logits_float32


class Block(nn.Module):
    """Attention, then the feed-forward part, each on a normalised copy of the stream."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(architecture.width, eps=NORM_EPSILON)
        self.attention = Attention(architecture)
        self.feedforward_norm = nn.RMSNorm(architecture.width, eps=NORM_EPSILON)
        self.feedforward = FeedForward(architecture)

    def __call__(self, x_BTD: mx.array) -> mx.array:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD))
        return x_BTD + self.feedforward(self.feedforward_norm(x_BTD))


class Attention(nn.Module):
    """Causal attention with rotary positions."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.heads = architecture.heads
        self.qkv = nn.Linear(architecture.width, 3 * architecture.width, bias=False)
        self.out = nn.Linear(architecture.width, architecture.width, bias=False)

    def __call__(self, x_BTD: mx.array) -> mx.array:
        B, T, D = x_BTD.shape
        parts = mx.split(self.qkv(x_BTD), 3, axis=-1)
        qkv_BTHK = (part.reshape(B, T, self.heads, -1) for part in parts)
        q_BHTK, k_BHTK, v_BHTK = (part.swapaxes(1, 2) for part in qkv_BTHK)
        y_BHTK = mx.fast.scaled_dot_product_attention(
            rotate(q_BHTK), rotate(k_BHTK), v_BHTK, scale=q_BHTK.shape[-1] ** -0.5, mask="causal"
        )
        y_BTD: mx.array = self.out(y_BHTK.swapaxes(1, 2).reshape(B, T, D))
        return y_BTD


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.gate = nn.Linear(architecture.width, architecture.hidden, bias=False)
        self.up = nn.Linear(architecture.width, architecture.hidden, bias=False)
        self.down = nn.Linear(architecture.hidden, architecture.width, bias=False)

    def __call__(self, x_BTD: mx.array) -> mx.array:
        y_BTD: mx.array = self.down(nn.silu(self.gate(x_BTD)) * self.up(x_BTD))
        return y_BTD


def rotate(x_BHTK: mx.array) -> mx.array:
    """Rotary positions: element i of the first half turns with element i of the second half."""
    return mx.fast.rope(
        x_BHTK, x_BHTK.shape[-1], traditional=False, base=ROTARY_BASE, scale=1.0, offset=0
    )


def loss(model: Transformer, tokens: mx.array) -> mx.array:
    """Mean cross-entropy of the last T of ``[B, T + 1]`` tokens, nats a token."""
    logits_BTV = model(tokens[:, :-1])
    nats_BT = nn.losses.cross_entropy(logits_BTV, tokens[:, 1:], reduction="none")
    mean: mx.array = nats_BT.mean(axis=-1).mean()
    return mean
