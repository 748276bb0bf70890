"""The command `tessflow fit`.

Like the other commands, it imports torch and pandas inside functions only.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from tessflow.cli.arguments import MOST_SEED, Delimiter, MissingWords, TableFile, one_of, table_source
from tessflow.cli.models import declared_schema, kept_directory, remove_other_runs, require_own, require_same
from tessflow.cli.options import checked_options, estimator_of, widths
from tessflow.cli.phrases import echo_training

__all__ = ["fit"]

MODEL, TABLE, TRAINING = "Model", "Table", "Training"


def _option(help_: str, panel: str, **more: Any) -> Any:
    return typer.Option(help=help_, rich_help_panel=panel, **more)


def fit(
    table: TableFile,
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory for the model and its checkpoints.")],
    force: Annotated[
        bool, typer.Option("--force", help="Fit anew, and replace a model that is in DIR when it is done.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    schema: Annotated[
        Path | None, _option("Of a table: what its columns are, as `tessflow schema` writes.", TABLE, metavar="FILE")
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Of a table: read it in batches.", rich_help_panel=TABLE)
    ] = False,
    delimiter: Delimiter = None,
    na: MissingWords = None,
    scaling: Annotated[str | None, _option("Of a table: how numbers are scaled, quantile or standard.", TABLE)] = None,
    max_levels: Annotated[
        int | None, _option("Of a table: most numbers of a column with a probability of their own.", TABLE)
    ] = None,
    unseen: Annotated[
        str | None,
        _option(
            "Of a table: values not seen in training count as 'something not seen' (other), or are refused (error).",
            TABLE,
            metavar="other|error",
            callback=one_of("other", "error"),
        ),
    ] = None,
    model: Annotated[
        str, _option("table, of any columns, or mixture, of real numbers.", MODEL, callback=one_of("table", "mixture"))
    ] = "table",
    backbone: Annotated[str | None, _option("Of a table: autoregressive or coupling.", MODEL)] = None,
    order: Annotated[
        str | None, _option("Of a table: any (every conditional), fixed (faster; the best of a few) or table.", MODEL)
    ] = None,
    orders: Annotated[
        int | None, _option("Of a table, in any order: over how many orders likelihoods are a mean.", MODEL)
    ] = None,
    dimension: Annotated[int | None, _option("Of a table: dimensions of a column's cells.", MODEL)] = None,
    max_categories: Annotated[
        int | None, _option("Of a table: most classes of a column with a probability for each.", MODEL)
    ] = None,
    cells: Annotated[
        int | None, _option("Of a mixture: number of cells; without it, there are Gaussians instead.", MODEL)
    ] = None,
    estimators: Annotated[int | None, _option("Of a mixture: how many of them it is the mean of.", MODEL)] = None,
    layers: Annotated[int | None, _option("Coupling layers.", MODEL)] = None,
    profile: Annotated[str | None, _option("truncated-gaussian or softsign; of a mixture also cube.", MODEL)] = None,
    hidden_features: Annotated[
        str | None, _option("Widths of the hidden layers, such as 128,128.", MODEL, metavar="WIDTHS")
    ] = None,
    dropout: Annotated[
        float | None, _option("Of a table: share of hidden units dropped in training.", TRAINING)
    ] = None,
    steps: Annotated[int | None, _option("Most training steps.", TRAINING)] = None,
    batch_size: Annotated[int | None, _option("Rows in a step.", TRAINING)] = None,
    learning_rate: Annotated[float | None, _option("Highest learning rate.", TRAINING)] = None,
    weight_decay: Annotated[float | None, _option("Weight decay.", TRAINING)] = None,
    validation_fraction: Annotated[float | None, _option("Share of rows held out.", TRAINING)] = None,
    patience: Annotated[
        int | None, _option("Evaluations without improvement after which training stops.", TRAINING)
    ] = None,
    seed: Annotated[int, _option("Seed of everything random.", TRAINING, min=0, max=MOST_SEED)] = 0,
    device: Annotated[str | None, _option("cpu, cuda or auto.", TRAINING)] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            "-o",
            metavar="NAME=VALUE",
            help="Another argument of the estimator, such as condition_on=point or patience=null; may be repeated.",
        ),
    ] = None,
) -> None:
    """Fit a model to TABLE and write it to DIR.

    It prints what each column is: its kind, whether likelihoods of it are probabilities or densities, and missing
    values. Killed and started again, the same command without --force goes on from its last checkpoint in DIR.
    """
    require_own(out)
    flags = {
        "backbone": backbone, "order": order, "orders": orders, "dimension": dimension,
        "max_categories": max_categories, "n_cells": cells, "n_estimators": estimators,
        "layers": layers,
        "profile": profile, "hidden_features": widths(hidden_features),
        "scaling": scaling, "max_levels": max_levels, "unseen": unseen, "dropout": dropout, "max_steps": steps,
        "batch_size": batch_size, "learning_rate": learning_rate, "weight_decay": weight_decay,
        "validation_fraction": validation_fraction, "patience": patience, "random_state": seed, "accelerator": device,
    }  # fmt: skip
    estimator = estimator_of(model, flags, option or (), quiet=quiet)
    options = checked_options(estimator, out, set(flags) - {name for name, flag in flags.items() if flag is None})
    _require_device(options.accelerator)
    declared = declared_schema(schema, model)
    if stream and model != "table":
        raise ValueError(f"--stream goes with --model table, not with --model {model}")
    estimator._resume = not force
    with kept_directory(out), warnings.catch_warnings():
        if quiet:
            warnings.simplefilter("ignore")
        source: Any = table_source(table, delimiter, na).require_columns(declared)
        source = source if stream else source.read(declared)
        if declared is not None and not stream:
            declared.aligned(source)  # all rows, also those that are held out
        if not force:
            require_same(out, estimator, options, source, declared)
        try:
            estimator.fit(source, directory=out, **({} if declared is None else {"schema": declared}))
        except KeyboardInterrupt as interrupt:
            if not interrupt.args:  # there is no checkpoint
                raise
            same = "the same command without --force" if force else "the same command"
            raise KeyboardInterrupt(f"{interrupt}, and {same} goes on from there") from None
        estimator.save(out)
        remove_other_runs(out, getattr(options, "n_estimators", 1))
    if not quiet:
        echo_training(estimator)
        typer.echo(f"the model is in {out}")


def _require_device(name: str) -> None:
    """Refuse a device that is not there, before a table is read."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda was asked for, but torch finds no CUDA device: use auto or cpu")
