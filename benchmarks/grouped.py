"""Grouped heads: a decoding step of one attention layer over a filled cache, beside full heads and copied keys."""

from typing import Any

import torch
from torch import Tensor

from benchmarks.peers import OURS
from benchmarks.tasks import Run, Setting
from transformer_lib import KVCache, MultiHeadAttention

FULL, REPEATED = "a key head for each query head", "keys repeated at each step"
DIFFERS = {
    FULL: "The same layer without groups: a cache as many times as large as there are query heads to a key head.",
    REPEATED: "The same weights; repeat_interleave copies the whole cache once for each query head of a group.",
}


class Repeating(MultiHeadAttention):
    """Grouped heads as they are often written."""

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, *rest: Any) -> Tensor:
        group = self.n_heads // self.n_kv_heads
        return super()._attend(query, key.repeat_interleave(group, dim=1), value.repeat_interleave(group, dim=1), *rest)


def layers(setting: Setting, n_kv_heads: int) -> dict[str, MultiHeadAttention]:
    """The layers to compare, by name."""
    torch.manual_seed(0)
    d_model, n_heads = setting.sizes.d_model, setting.sizes.n_heads
    found = {
        OURS: MultiHeadAttention(d_model, n_heads, n_kv_heads=n_kv_heads),
        FULL: MultiHeadAttention(d_model, n_heads),
        REPEATED: Repeating(d_model, n_heads, n_kv_heads=n_kv_heads),
    }
    found[REPEATED].load_state_dict(found[OURS].state_dict())
    return {name: layer.to(setting.device).eval() for name, layer in found.items()}


def steps(setting: Setting, n_kv_heads: int) -> dict[str, Run]:
    """What to time, by name: ``new_tokens`` steps, each after ``length`` cached tokens; all return the last output."""
    sizes = setting.sizes
    past = torch.randn(sizes.batch, sizes.length, sizes.d_model, device=setting.device)
    new = torch.randn(sizes.batch, 1, sizes.d_model, device=setting.device)

    def step(layer: MultiHeadAttention) -> Run:
        cache = KVCache()
        with torch.no_grad(), setting.precision():
            layer(past, causal=True, cache=cache)

        def run() -> Tensor:
            with torch.no_grad(), setting.precision():
                for _ in range(sizes.new_tokens):
                    output: Tensor = layer(new, causal=True, cache=cache)
                    cache.crop(sizes.length)
            return output

        return run

    return {name: step(layer) for name, layer in layers(setting, n_kv_heads).items()}
