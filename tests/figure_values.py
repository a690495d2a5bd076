"""What stands in a live figure, read from its page, and what should stand there by the library."""

import functools
from typing import Any

import numpy as np
import torch
from playwright.sync_api import Locator

import transformer_lib as lib
from transformer_lib import StackConfig, Transformer
from transformer_lib.widgets.stream import KINDS


def by_library(state: dict[str, Any]) -> tuple[list[float], list[float]]:
    width = state["d_k"]
    query, key = (torch.tensor(state[name], dtype=torch.float64) for name in ("query", "key"))
    scale = (width**-0.5 if state["scaled"] else 1.0) / state["temperature"]
    value = torch.tensor(state["value"], dtype=torch.float64)
    mask = torch.tensor([state["visible"]])
    output, weights = lib.attention(query[None, :width], key[:, :width], value, mask, scale=scale)
    return weights[0].tolist(), output[0].tolist()


def shown_weights(figure: Locator) -> list[float]:
    return [float(text) for text in figure.locator("tbody td:nth-child(4)").all_inner_texts()]


def state_of(figure: Locator) -> dict[str, Any]:
    return dict(figure.evaluate("place => place.model.state"))


def numbers(figure: Locator, side: str) -> list[float]:
    """What stands beside the tokens of a side; nothing counts as zero."""
    return [float(text or 0) for text in figure.locator(f".lf-side-{side} .lf-number").all_inner_texts()]


def exact_table(length: int, width: int) -> np.ndarray:
    angles = np.arange(length)[:, None] * 10000.0 ** (-np.arange(0, width, 2) / width)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, width)


def turned(vector: list[float], place: int) -> torch.Tensor:
    x = torch.tensor(vector, dtype=torch.float64)[None, None, None]
    return lib.RotaryPositions(len(vector))(x, torch.tensor([place]))[0, 0, 0]


def exact_score(state: dict[str, Any]) -> float:
    return float(turned(state["query"], state["query_at"]) @ turned(state["key"], state["key_at"]))


def number_in(text: str) -> float:
    return float(text.replace("−", "-"))


NAMES = [name for name, *_ in KINDS]


def as_number(text: str) -> float:
    mantissa, _, exponent = text.partition(" · 10")
    return float(mantissa) * 10 ** int(exponent.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")) or 0)


def built(sizes: dict[str, int]) -> Transformer:
    return model_of(tuple(sizes.items()))


@functools.cache
def model_of(items: tuple[tuple[str, int], ...]) -> Transformer:
    sizes = dict(items)
    stack = {name: size for name, size in sizes.items() if name != "vocab_size"}
    with torch.device("meta"):
        return Transformer(sizes["vocab_size"], StackConfig(**stack))


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
