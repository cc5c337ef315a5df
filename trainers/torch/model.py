"""The transformer in torch.nn. The letters of the suffixes are explained in architecture.py."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lion_ports.trainers.architecture import NORM_EPSILON, ROTARY_BASE, Architecture


class Transformer(nn.Module):
    """Tokens ``[B, T]`` to float32 logits ``[B, T, V]``."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.embedding = nn.Embedding(architecture.vocabulary, architecture.width)
        self.blocks = nn.ModuleList(Block(architecture) for _ in range(architecture.layers))
        self.norm = nn.RMSNorm(architecture.width, eps=NORM_EPSILON)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        x_BTD = self.embedding(tokens_BT)
        for block in self.blocks:
            x_BTD = block(x_BTD)
        logits_BTV = functional.linear(self.norm(x_BTD), self.embedding.weight)
        return logits_BTV.float()


class Block(nn.Module):
    """Attention, then the feed-forward part, each on a normalised copy of the stream."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(architecture.width, eps=NORM_EPSILON)
        self.attention = Attention(architecture)
        self.feedforward_norm = nn.RMSNorm(architecture.width, eps=NORM_EPSILON)
        self.feedforward = FeedForward(architecture)

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD))
        y_BTD: Tensor = x_BTD + self.feedforward(self.feedforward_norm(x_BTD))
        return y_BTD


class Attention(nn.Module):
    """Causal attention with rotary positions."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.heads = architecture.heads
        self.qkv = nn.Linear(architecture.width, 3 * architecture.width, bias=False)
        self.out = nn.Linear(architecture.width, architecture.width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        B, T, D = x_BTD.shape
        qkv_BTHK = (part.view(B, T, self.heads, -1) for part in self.qkv(x_BTD).chunk(3, dim=-1))
        q_BHTK, k_BHTK, v_BHTK = (part.transpose(1, 2) for part in qkv_BTHK)
        y_BHTK = functional.scaled_dot_product_attention(
            rotate(q_BHTK), rotate(k_BHTK), v_BHTK, is_causal=True
        )
        y_BTD: Tensor = self.out(y_BHTK.transpose(1, 2).reshape(B, T, D))
        return y_BTD


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.gate = nn.Linear(architecture.width, architecture.hidden, bias=False)
        self.up = nn.Linear(architecture.width, architecture.hidden, bias=False)
        self.down = nn.Linear(architecture.hidden, architecture.width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.down(functional.silu(self.gate(x_BTD)) * self.up(x_BTD))
        return y_BTD


def rotate(x_BHTK: Tensor) -> Tensor:
    """Rotary positions: element i of the first half turns with element i of the second half."""
    T, K = x_BHTK.shape[-2:]
    half = torch.arange(K // 2, dtype=torch.float32, device=x_BHTK.device)
    position_T = torch.arange(T, dtype=torch.float32, device=x_BHTK.device)
    angle_TK = position_T[:, None] * ROTARY_BASE ** (-2 * half / K)
    cos, sin = angle_TK.cos(), angle_TK.sin()
    first, second = x_BHTK.float().chunk(2, dim=-1)
    turned = torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
    return turned.to(x_BHTK.dtype)


def loss(model: Transformer, tokens: Tensor) -> Tensor:
    """Mean cross-entropy of the last T of ``[B, T + 1]`` tokens, nats a token."""
    logits_BTV = model(tokens[:, :-1])
    nats_BT = functional.cross_entropy(
        logits_BTV.transpose(1, 2), tokens[:, 1:].long(), reduction="none"
    )
    return nats_BT.mean(dim=-1).mean()
