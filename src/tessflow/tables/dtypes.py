"""Names of pandas dtypes that survive a JSON file."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api.extensions import ExtensionDtype
from pandas.api.types import pandas_dtype

__all__ = ["dtype_name", "dtype_from_name"]


def dtype_name(dtype: np.dtype | ExtensionDtype) -> str:
    """Name a dtype so that `dtype_from_name` finds it again; pandas' own names are ambiguous for strings.

    Example:
        >>> dtype_name(pd.StringDtype("python"))
        'string[python]'
        >>> dtype_from_name("Int64")
        Int64Dtype()
    """
    if isinstance(dtype, pd.StringDtype):
        return f"string[{dtype.storage}]" if dtype.na_value is pd.NA else "str"
    if isinstance(dtype, pd.ArrowDtype):
        return f"arrow[{dtype.pyarrow_dtype}]"
    return str(dtype)


def dtype_from_name(name: str) -> np.dtype | ExtensionDtype:
    """Return the dtype that `dtype_name` has named; of "date", objects of `datetime.date`, it is object."""
    if name == "date":
        return np.dtype(object)
    if name.startswith("arrow["):
        alias = name.removeprefix("arrow[").removesuffix("]")
        if alias.startswith("timestamp"):  # whose zones Arrow's own aliases lack
            return pd.ArrowDtype.construct_from_string(f"{alias}[pyarrow]")
        return pd.ArrowDtype(pa.type_for_alias(alias))
    return pandas_dtype(name)
