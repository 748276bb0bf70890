"""Connect-4 after eight plies: every quiet position, generated; a test of membership; a drawing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = [
    "CONNECT4_COLUMNS",
    "check_connect4",
    "connect4_positions",
    "is_legal_connect4",
    "render_connect4",
]

CONNECT4_COLUMNS: tuple[str, ...] = tuple(f"{file}{rank}" for file in "abcdefg" for rank in range(1, 7))
"""The 42 squares in UCI's order: a1..a6 (bottom to top), then b1..b6, up to g6."""

# A set of squares is an integer: square (file, rank) is bit 7 * file + rank, and the 7th bit of a file stays
# empty, so that lines do not run from one file into the next. A board is also a 42-letter string, its key.
_SQUARES = np.array([7 * file + rank for file in range(7) for rank in range(6)])
_UP, _RIGHT, _RIGHT_UP, _RIGHT_DOWN = 1, 7, 8, 6

Bits = npt.NDArray[np.int64]
Keys = npt.NDArray[np.bytes_]


def _has_four(stones: Bits) -> npt.NDArray[np.bool_]:
    won = np.zeros(stones.shape, dtype=bool)
    for step in (_UP, _RIGHT, _RIGHT_UP, _RIGHT_DOWN):
        pairs = stones & (stones >> step)
        won |= (pairs & (pairs >> 2 * step)) != 0
    return won


def _drops(occupied: Bits) -> Bits:
    """Where a stone dropped into each file lands, (7, *occupied.shape); 0 for a full file."""
    return np.stack([(occupied + (1 << 7 * file)) & (0b111111 << 7 * file) for file in range(7)])


@cache
def _legal_keys() -> Keys:
    """All 134,934 quiet positions, mirror images included, in alphabetical order."""
    mover = other = np.zeros(1, dtype=np.int64)
    for _ in range(8):
        drops = _drops(mover | other)
        mover, other = (side[drops != 0] for side in np.broadcast_arrays(other, mover | drops))
        # Without floating stones the sum differs between any two positions, as it tells each file's height.
        _, first = np.unique(mover + (mover | other), return_index=True)
        mover, other = mover[first], other[first]
    x, o = mover, other
    drops = _drops(x | o)
    # A four, once made, stays on the board: `_has_four` after the next drop also finds games already won.
    loud = (_has_four(x | drops) | _has_four(o | drops)).any(axis=0)
    x, o = ((stones[~loud, None] >> _SQUARES) & 1 == 1 for stones in (x, o))
    return np.sort(_keys(np.where(x, "x", np.where(o, "o", "b"))))


def _keys(boards: npt.NDArray[np.str_]) -> Keys:
    return np.ascontiguousarray(boards.astype("S1")).view("S42")[:, 0]


def _mirrored(keys: Keys) -> Keys:
    return np.ascontiguousarray(keys.view("S6").reshape(-1, 7)[:, ::-1]).view("S42")[:, 0]


def _boards(boards: pd.DataFrame | npt.ArrayLike) -> npt.NDArray[np.str_]:
    """Check boards of any admitted kind and bring them to an array of letters, (rows, 42)."""
    if isinstance(boards, pd.DataFrame):
        missing = [column for column in CONNECT4_COLUMNS if column not in boards.columns]
        if missing:
            raise ValueError(f"a Connect-4 board needs the columns a1..g6, but {missing} are missing")
        boards = boards[list(CONNECT4_COLUMNS)].to_numpy(dtype=object)
    letters = np.asarray(boards, dtype=str)
    if letters.ndim != 2 or letters.shape[1] != 42:
        raise ValueError(f"Connect-4 boards have shape (rows, 42), but {letters.shape} came")
    unknown = set(np.unique(letters)) - {"b", "o", "x"}
    if unknown:
        raise ValueError(f"a Connect-4 square is 'b', 'o' or 'x', but {sorted(unknown)} came")
    return letters


def connect4_positions() -> pd.DataFrame:
    """Generate the 67,557 legal positions after eight plies where nobody has won or wins with the next stone.

    Of the 134,934 such positions (180 are their own mirror image) one of each mirror pair is kept: the one
    whose string of 42 letters, a1..a6, b1..b6, up to g6, comes first in the alphabet. UCI's file holds the
    same pairs but follows no known rule in its choice within them. Rows are in alphabetical order.

    Returns:
        67,557 rows and the columns a1..g6 with the values 'b' (blank), 'x' (moved first) and 'o'.

    Example:
        >>> connect4_positions().shape
        (67557, 42)
    """
    keys = _legal_keys()
    keys = keys[keys <= _mirrored(keys)]
    letters = keys.view("S1").reshape(-1, 42).astype(str)
    return pd.DataFrame(letters, columns=list(CONNECT4_COLUMNS)).astype(str)


def is_legal_connect4(boards: pd.DataFrame | npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Tell which boards are positions of the data set or mirror images of one.

    Args:
        boards: A frame with (at least) the columns a1..g6, or an array (rows, 42); values 'b', 'o' and 'x'.

    Returns:
        One bool a row.

    Raises:
        ValueError: If columns are missing, the shape is another, or a value is none of 'b', 'o', 'x'.

    Example:
        >>> board = connect4_positions().head(1)
        >>> is_legal_connect4(board), is_legal_connect4(board.assign(a1="x"))
        (array([ True]), array([False]))
    """
    return np.isin(_keys(_boards(boards)), _legal_keys())


def check_connect4(frame: pd.DataFrame, *, source: str) -> None:
    """Check that a frame holds each generated position or its mirror image, exactly once.

    Args:
        frame: Rows with the columns a1..g6.
        source: Where they come from, for the message.

    Raises:
        ValueError: If a row is not a position of the data set, or a position is missing or comes twice.
    """
    keys = _keys(_boards(frame))
    mirrored = _mirrored(keys)
    distinct = np.unique(np.where(keys <= mirrored, keys, mirrored))
    strangers = int((~np.isin(keys, _legal_keys())).sum())
    if strangers or not len(distinct) == len(keys) == 67_557:
        raise ValueError(
            f"{source} does not hold the 67,557 Connect-4 positions: of its {len(keys)} rows "
            f"{len(distinct)} are distinct up to mirror images and {strangers} are not among those generated"
        )


def render_connect4(board: pd.Series | Sequence[str] | npt.NDArray[np.str_]) -> str:
    """Draw a board as text: rank 6 on top, files a to g from left to right, '.' for a blank square.

    Args:
        board: The 42 squares a1..a6, b1..b6, up to g6, such as a row of the data set.

    Returns:
        Six lines of seven squares and a line with the names of the files.

    Raises:
        ValueError: If there are not 42 squares or a value is none of 'b', 'o', 'x'.

    Example:
        >>> print(render_connect4(connect4_positions().loc[0]))
        . . . . . . x
        . . . . . . x
        . . . . . . o
        . . . . . . x
        . . . . . o o
        . . . . . o x
        a b c d e f g
    """
    if isinstance(board, pd.Series):
        board = board.to_frame().T if "a1" in board.index else board.to_numpy()
    grid = _boards(board if isinstance(board, pd.DataFrame) else np.asarray(board)[None]).reshape(7, 6)
    lines = (" ".join(grid[:, rank]).replace("b", ".") for rank in reversed(range(6)))
    return "\n".join([*lines, "a b c d e f g"])
