"""What every corpus of translations is made of, and how written pairs become more like what people type."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from transformer_lib.checks import check_real


class Pair(NamedTuple):
    """A sentence and its translation.

    Args:
        english: the source.
        portuguese: the target, in the Portuguese of Brazil.
    """

    english: str
    portuguese: str


def joined(pairs: Sequence[Pair], share: float, generator: torch.Generator) -> list[Pair]:
    """Let some of the pairs stand two in a row, so that a model sees longer texts than one sentence.

    Args:
        pairs: in any order.
        share: how many of them are joined with another, from 0 to 1.
        generator: draws which.

    Returns:
        Fewer pairs, in a new order, those that stay alone in front.

    Raises:
        ValueError: ``share`` is no number from 0 to 1.
    """
    _check_share(share)
    drawn = [pairs[number] for number in torch.randperm(len(pairs), generator=generator).tolist()]
    alone = len(pairs) - int(len(pairs) * share) // 2 * 2
    couples = zip(drawn[alone::2], drawn[alone + 1 :: 2], strict=True)
    return drawn[:alone] + [
        Pair(f"{first.english} {second.english}", f"{first.portuguese} {second.portuguese}")
        for first, second in couples
    ]


def careless(pairs: Sequence[Pair], share: float, generator: torch.Generator) -> list[Pair]:
    """Let some of the pairs be as people type them: all in small letters, without the last period, or both.

    Args:
        pairs: whole sentences.
        share: how many of them lose their capitals, and how many their period, from 0 to 1. Capitals are lost in
            English alone, the period in both languages.
        generator: draws which.

    Raises:
        ValueError: ``share`` is no number from 0 to 1.
    """
    _check_share(share)
    small, open_ended = (torch.rand(2, len(pairs), generator=generator) < share).tolist()
    typed = []
    for (english, portuguese), lower, ends in zip(pairs, small, open_ended, strict=True):
        english = english.lower() if lower else english
        typed.append(Pair(english.rstrip("."), portuguese.rstrip(".")) if ends else Pair(english, portuguese))
    return typed


def _check_share(share: float) -> None:
    if not 0 <= check_real("share", share) <= 1:
        raise ValueError(f"share must be from 0 to 1; got {share}")
