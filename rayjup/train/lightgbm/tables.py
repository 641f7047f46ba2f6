"""Tables as LightGBM takes them."""

from __future__ import annotations

from typing import Any


def normalize_pandas_for_lightgbm(df: Any) -> Any:
    """A table in which numbers and truth values that Arrow holds are held by NumPy; LightGBM refuses
    the former.

    Parameters
    ----------
    df
        The table; columns of other kinds are left as they are.

    Examples
    --------
    >>> import pandas
    >>> from rayjup.train.lightgbm import normalize_pandas_for_lightgbm
    >>> table = pandas.DataFrame({"x": pandas.array([1, None], dtype="int64[pyarrow]")})
    >>> str(normalize_pandas_for_lightgbm(table)["x"].dtype)
    'Int64'
    """
    import pandas
    from pyarrow import types

    changed: dict[Any, str] = {}
    for name, dtype in df.dtypes.items():
        if not isinstance(dtype, pandas.ArrowDtype):
            continue
        held = dtype.pyarrow_dtype
        if types.is_boolean(held):
            changed[name] = "boolean"
        elif types.is_float16(held):
            changed[name] = "Float32"
        elif types.is_integer(held) or types.is_floating(held):
            kind = "Float" if types.is_floating(held) else "Int" if types.is_signed_integer(held) else "UInt"
            changed[name] = f"{kind}{held.bit_width}"
    return df.astype(changed) if changed else df
