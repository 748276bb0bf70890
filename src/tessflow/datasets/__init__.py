"""The discrete tables of the paper, prepared and split as there.

`load(name)` gives a `TableDataset`; connect4, nursery and pokerhands-simulated are generated, the others are
read from a directory of yours (`data_dir`, or the environment variable TESSFLOW_DATA), the cache, or UCI.
"""

from tessflow.datasets.catalogue import DatasetInfo, info, load, names
from tessflow.datasets.connect4 import connect4_positions, is_legal_connect4, render_connect4
from tessflow.datasets.poker import simulate_poker_hands
from tessflow.datasets.table import TableDataset, independent_columns_nats, split_rows

__all__ = [
    "load",
    "names",
    "info",
    "TableDataset",
    "DatasetInfo",
    "independent_columns_nats",
    "split_rows",
    "connect4_positions",
    "is_legal_connect4",
    "render_connect4",
    "simulate_poker_hands",
]
