"""Blocks: the pieces a dataset consists of. A block is an Arrow table.

``metadata`` says what is known of a block; ``accessor`` works on one; ``columns`` on one column;
``convert`` makes blocks from batches and rows and batches from blocks; ``unify`` joins schemas.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Union

from rayjup.data.block.accessor import BlockAccessor, BlockType
from rayjup.data.block.columns import BlockColumnAccessor
from rayjup.data.block.convert import BatchFormat
from rayjup.data.block.metadata import (
    BlockExecStats,
    BlockMetadata,
    BlockMetadataWithSchema,
    BlockStats,
    CustomOpStats,
    TaskExecWorkerStats,
    to_stats,
)

if TYPE_CHECKING:
    import numpy
    import pandas
    import pyarrow

Block = Union["pyarrow.Table", "pandas.DataFrame"]
Schema = Union[type, "pyarrow.lib.Schema"]
DataBatch = Union["pyarrow.Table", "pandas.DataFrame", Mapping[str, "numpy.ndarray"]]
UserDefinedFunction = Any

__all__ = [
    "BatchFormat",
    "Block",
    "BlockAccessor",
    "BlockColumnAccessor",
    "BlockExecStats",
    "BlockMetadata",
    "BlockMetadataWithSchema",
    "BlockStats",
    "BlockType",
    "CustomOpStats",
    "DataBatch",
    "Schema",
    "TaskExecWorkerStats",
    "UserDefinedFunction",
    "to_stats",
]
