"""The page of the gallery: pictures and tables."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure

from tessflow.files import write_atomically
from tessflow.viz.gallery.draw import draw_overview, draw_set
from tessflow.viz.gallery.run import GalleryConfig, is_done
from tessflow.viz.gallery.table import read_results, tables

__all__ = ["write_page"]


def write_page(config: GalleryConfig, directory: Path) -> str:
    """Write ``README.md``, and a picture of each set and of all, from the results of `train_gallery`.

    Args:
        config: Options of the results to show.
        directory: Where results and weights are.

    Returns:
        The tables, in Markdown.

    Raises:
        ValueError: If there are no results of these options.
    """
    results = read_results(directory / "results", config)
    # The pictures show the first seed of each set.
    first = [result for result in results if result["seed"] == 0 and is_done(result["set"], 0, config, directory)]
    for result in first:
        _save(draw_set(result, directory), directory / f"{result['set']}.png")
    lines = ["# Densities in the plane: flows and disjoint mixtures", ""]
    if first:
        _save(draw_overview(first, directory), directory / "overview.png")
        lines += ["![True densities above, those of the models below](overview.png)", ""]
    text = tables(results)
    lines += [text]
    for result in first:
        name = result["set"]
        lines += [f"## {name.replace('_', ' ').capitalize()}", "", f"![{name}]({name}.png)", ""]
    write_atomically(directory / "README.md", "\n".join(lines).encode())
    return text


def _save(figure: Figure, path: Path) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    write_atomically(path, picture.getvalue())
