"""Poker hands drawn at random: the law of UCI's testing file, without the file."""

from __future__ import annotations

import numpy as np
import pandas as pd

__all__ = ["POKER_COLUMNS", "simulate_poker_hands"]

POKER_COLUMNS: tuple[str, ...] = tuple(f"{part}{card}" for card in range(1, 6) for part in "SC")
"""Suit and rank of five cards in UCI's order: S1, C1, ..., S5, C5."""


def simulate_poker_hands(rows: int, *, seed: int) -> pd.DataFrame:
    """Draw ordered five-card hands, uniform over the 52 * 51 * 50 * 49 * 48 possible ones.

    Args:
        rows: Number of hands.
        seed: Seed of NumPy's default generator.

    Returns:
        The columns S1, C1, ..., S5, C5: suits 1..4 and ranks 1..13 as int16.

    Raises:
        ValueError: If `rows` is negative.

    Example:
        >>> simulate_poker_hands(2, seed=0)
           S1  C1  S2  C2  S3  C3  S4  C4  S5  C5
        0   3   1   4   9   4   5   3  12   4   8
        1   4   6   3   7   2  13   2   1   2   3
    """
    if rows < 0:
        raise ValueError(f"rows is {rows}: it must not be negative")
    generator = np.random.default_rng(seed)
    cards = np.empty((rows, 5), dtype=np.int16)
    for place in range(5):
        # The draw counts the cards still in the pack; stepping over those gone before turns it into a card.
        card = generator.integers(52 - place, size=rows, dtype=np.int16)
        for gone in np.sort(cards[:, :place], axis=1).T:
            card += card >= gone
        cards[:, place] = card
    hands = np.stack([cards // 13 + 1, cards % 13 + 1], axis=2).reshape(rows, 10)
    return pd.DataFrame(hands, columns=list(POKER_COLUMNS))
