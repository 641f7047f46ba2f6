"""Functions for maps: ``expr.map``."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from rayjup.data.expressions.compute import kernel

if TYPE_CHECKING:
    from rayjup.data.expressions.nodes import Expr, UDFExpr


class MapComponent(str, Enum):
    """The two halves of a map."""

    KEYS = "keys"
    VALUES = "values"


class _MapNamespace:
    """Functions for maps."""

    def __init__(self, expr: Expr) -> None:
        self._expr = expr

    def keys(self) -> UDFExpr:
        """The keys, as a list."""
        return kernel(self._expr, _map_part, MapComponent.KEYS)

    def values(self) -> UDFExpr:
        """The values, as a list."""
        return kernel(self._expr, _map_part, MapComponent.VALUES)


def _map_part(array: pa.Array, part: MapComponent) -> pa.Array:
    kind = array.type
    if pa.types.is_map(kind):
        elements = array.keys if part is MapComponent.KEYS else array.items
    elif pa.types.is_list(kind) and pa.types.is_struct(kind.value_type) and kind.value_type.num_fields == 2:
        # A map as some formats hand it over: a list of pairs.
        elements = array.values.field(0 if part is MapComponent.KEYS else 1)
    else:
        raise TypeError(f"map.{part.value}() is for columns of maps; this one is of type {kind}.")
    valid = np.asarray(array.is_valid())
    # `keys` and `items` show everything behind the offsets, also of a slice.
    mask = None if valid.all() else pa.array(~valid)
    offsets = pa.array(array.offsets.to_numpy(), pa.int32())
    return pa.ListArray.from_arrays(offsets, elements, mask=mask)
