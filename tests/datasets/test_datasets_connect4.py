import lzma
import random

import numpy as np
import pandas as pd
import pytest

from tessflow.datasets import connect4_positions, is_legal_connect4, load, render_connect4
from tessflow.datasets.connect4 import CONNECT4_COLUMNS, check_connect4

LINES = [
    [(file + step * right, rank + step * up) for step in range(4)]
    for file in range(7)
    for rank in range(6)
    for right, up in [(0, 1), (1, 0), (1, 1), (1, -1)]
    if file + 3 * right < 7 and 0 <= rank + 3 * up < 6
]


def has_four(board, stone):
    return any(all(board[file][rank] == stone for file, rank in line) for line in LINES)


def is_quiet(board):
    """The rule of the data set, square by square: nobody has won or wins with the next stone."""
    if has_four(board, "x") or has_four(board, "o"):
        return False
    for file in range(7):
        if "b" in board[file]:
            rank = board[file].index("b")
            for stone in "xo":
                board[file][rank] = stone
                wins = has_four(board, stone)
                board[file][rank] = "b"
                if wins:
                    return False
    return True


def random_board(plies, generator):
    board = [["b"] * 6 for _ in range(7)]
    for ply in range(plies):
        file = generator.choice([file for file in range(7) if "b" in board[file]])
        board[file][board[file].index("b")] = "xo"[ply % 2]
    return board


def flat(board):
    return [square for file in board for square in file]


def mirrored(frame):
    files = [CONNECT4_COLUMNS[start : start + 6] for start in range(0, 42, 6)]
    return frame[[square for file in reversed(files) for square in file]].set_axis(frame.columns, axis=1)


@pytest.fixture(scope="module")
def positions():
    return connect4_positions()


def test_has_the_known_counts(positions):
    assert positions.shape == (67_557, 42)
    assert not positions.duplicated().any()
    assert (positions == mirrored(positions)).all(axis=1).sum() == 180
    both = pd.concat([positions, mirrored(positions)]).drop_duplicates()
    assert len(both) == 134_934
    assert ((positions == "x").sum(axis=1) == 4).all()
    assert ((positions == "o").sum(axis=1) == 4).all()


def test_keeps_the_first_of_each_mirror_pair_in_alphabetical_order(positions):
    strings, others = (["".join(row) for row in frame.to_numpy()] for frame in (positions, mirrored(positions)))
    assert all(string <= other for string, other in zip(strings, others, strict=True))
    assert strings == sorted(strings)


def test_membership_agrees_with_the_rule_played_out():
    generator = random.Random(0)
    boards = [random_board(8, generator) for _ in range(1_500)]
    expected = np.array([is_quiet(board) for board in boards])
    assert 0 < expected.sum() < len(boards)
    np.testing.assert_array_equal(is_legal_connect4([flat(board) for board in boards]), expected)


@pytest.mark.parametrize("plies", [0, 7, 9])
def test_other_numbers_of_plies_are_not_legal(plies):
    generator = random.Random(plies)
    assert not is_legal_connect4([flat(random_board(plies, generator)) for _ in range(50)]).any()


def test_a_floating_stone_is_not_legal(positions):
    board = positions[(positions["a1"] == "x") & (positions["a2"] == "b")].head(1)
    assert is_legal_connect4(board).all()
    assert not is_legal_connect4(board.assign(a1="b", a6="x")).any()


def test_mirror_images_are_legal_and_column_order_does_not_matter(positions):
    sample = positions.sample(500, random_state=0)
    assert is_legal_connect4(mirrored(sample)).all()
    assert is_legal_connect4(sample[sample.columns[::-1]].astype("category")).all()
    assert is_legal_connect4(sample.head(0)).shape == (0,)


@pytest.mark.parametrize(
    ("boards", "message"),
    [
        (pd.DataFrame({"a1": ["x"]}), "are missing"),
        (np.full((3, 41), "b"), r"shape \(rows, 42\), but \(3, 41\) came"),
        (np.full((1, 42), "bb"), r"but .*'bb'"),
        (np.zeros((1, 42), dtype=int), "'b', 'o' or 'x', but"),
    ],
)
def test_refuses_what_is_no_board(boards, message):
    with pytest.raises(ValueError, match=message):
        is_legal_connect4(boards)


def test_draws_a_board_the_right_way_up():
    board = pd.Series("b", index=list(CONNECT4_COLUMNS))
    board[["a1", "d2", "g6"]] = ["x", "o", "x"]
    drawing = render_connect4(board)
    assert drawing.splitlines() == [
        ". . . . . . x",
        *[". . . . . . ."] * 3,
        ". . . o . . .",
        "x . . . . . .",
        "a b c d e f g",
    ]
    assert render_connect4(board.tolist()) == drawing
    assert render_connect4(board.sample(frac=1, random_state=0)) == drawing
    with pytest.raises(ValueError, match="shape"):
        render_connect4("xo")


def test_a_file_is_checked_against_the_generated_positions(positions, tmp_path):
    # A stand-in for UCI's file: other choices within the mirror pairs, another order, a label.
    flipped = np.random.default_rng(0).random(len(positions)) < 0.5
    rows = pd.concat([positions[~flipped], mirrored(positions[flipped])]).sample(frac=1, random_state=1)
    text = rows.assign(label="win").to_csv(header=False, index=False)
    (tmp_path / "connect-4").mkdir()
    path = tmp_path / "connect-4" / "connect-4.data.xz"
    path.write_bytes(lzma.compress(text.encode(), preset=0))
    data = load("connect4", data_dir=tmp_path)
    assert data.source.startswith(path.name)
    order = np.random.RandomState(123).permutation(67_557)
    assert data.train.equals(rows.iloc[order[:54_045]].reset_index(drop=True))

    path.write_bytes(lzma.compress(text.replace("x", "o", 1).encode(), preset=0))
    with pytest.raises(
        ValueError,
        match=r"does not hold the 67,557 Connect-4 positions: .* and 1 are not among those generated",
    ):
        load("connect4", data_dir=tmp_path)
    with pytest.raises(ValueError, match="of its 67556 rows 67555 are distinct up to mirror images and 0 are not"):
        check_connect4(pd.concat([rows.iloc[:-2], mirrored(rows.iloc[:1])]), source="a file")
