"""The discrete tables of the paper, prepared and split as there, and data for continuous densities.

`load(name)` gives a `TableDataset`; connect4, nursery and pokerhands-simulated are generated, the others are
read from a directory of yours (`data_dir`, or the environment variable TESSFLOW_DATA), the cache, or UCI.
`load_continuous(name)` gives a `ContinuousDataset` of real numbers, from Zenodo; `sample_planar(name, n, seed=...)`
draws from a density in the plane that is known exactly, `sample_quantized(name, n, seed=...)` from such a table of
probabilities. `load_text(name)` gives a `TextDataset` of characters, `load_sets(name)` gives
`ItemSets`.
"""

from tessflow.datasets.baskets import ItemSets, load_sets, set_names
from tessflow.datasets.catalogue import DatasetInfo, info, load, names
from tessflow.datasets.connect4 import connect4_positions, is_legal_connect4, render_connect4
from tessflow.datasets.continuous import (
    ContinuousDataset,
    ContinuousInfo,
    continuous_info,
    continuous_names,
    load_continuous,
)
from tessflow.datasets.images import ImageDataset, bar_images, bars_entropy, image_names, load_images
from tessflow.datasets.patches import bsds300_patches
from tessflow.datasets.planar import planar_entropy, planar_log_density, planar_names, sample_planar
from tessflow.datasets.poker import simulate_poker_hands
from tessflow.datasets.quantized import (
    quantized_entropy,
    quantized_independent_nats,
    quantized_names,
    quantized_pmf,
    sample_quantized,
)
from tessflow.datasets.table import TableDataset, independent_columns_nats, split_rows
from tessflow.datasets.text import TextDataset, TextInfo, load_text, text_info, text_names

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
    "load_continuous",
    "continuous_names",
    "continuous_info",
    "ContinuousDataset",
    "ContinuousInfo",
    "bsds300_patches",
    "load_images",
    "image_names",
    "ImageDataset",
    "bar_images",
    "bars_entropy",
    "planar_names",
    "sample_planar",
    "planar_log_density",
    "planar_entropy",
    "quantized_names",
    "sample_quantized",
    "quantized_pmf",
    "quantized_entropy",
    "quantized_independent_nats",
    "load_text",
    "text_names",
    "text_info",
    "TextDataset",
    "TextInfo",
    "load_sets",
    "set_names",
    "ItemSets",
]
