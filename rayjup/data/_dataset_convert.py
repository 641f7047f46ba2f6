"""Datasets in the forms of other libraries, each imported when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rayjup.data.block import convert
from rayjup.data.block.unify import concat

if TYPE_CHECKING:
    from rayjup.data.dataset import MaterializedDataset
    from rayjup.data.iterator import DataIterator


def needs(module: str, package: str, method: str) -> Any:
    """Import an optional library, or say which package has it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{method} needs {package}: pip install {package}") from error


class ConvertMixin:
    """Datasets in the forms of other libraries."""

    materialize: Callable[[], MaterializedDataset]
    iterator: Callable[[], DataIterator]
    _tables: Callable[[], Any]
    to_pandas: Callable[..., Any]

    def _whole(self) -> pa.Table:
        return concat(list(self._tables()))

    def to_dask(self, meta: Any = None, verify_meta: bool = True) -> Any:
        """A DataFrame of Dask, one partition per block; needs ``dask[dataframe]``.

        Parameters
        ----------
        meta
            Names and types of the columns, as Dask wants them; known from the schema.
        verify_meta : bool
            Have Dask compare each partition with ``meta``.
        """
        dask = needs("dask", "dask", "to_dask")
        frames = needs("dask.dataframe", "'dask[dataframe]'", "to_dask")
        done = self.materialize()
        load = dask.delayed(_frame, pure=False)
        parts = [load(bundle) for bundle in done._bundles()]
        if meta is None:
            schema = done.schema()
            base = schema.base_schema if schema is not None else pa.schema([])
            meta = convert.to_pandas(base.empty_table())
        elif isinstance(meta, pa.Schema):
            meta = convert.to_pandas(meta.empty_table())
        return frames.from_delayed(parts, meta=meta, verify_meta=verify_meta)

    def to_daft(self) -> Any:
        """A DataFrame of Daft; needs ``daft``."""
        return needs("daft", "daft", "to_daft").from_arrow(self._whole())

    def to_modin(self) -> Any:
        """A DataFrame of Modin; needs ``modin``."""
        return needs("modin.pandas", "modin", "to_modin").DataFrame(self.to_pandas())

    def to_mars(self) -> Any:
        """A DataFrame of Mars; needs ``pymars``."""
        return needs("mars.dataframe", "pymars", "to_mars").DataFrame(self.to_pandas())

    def to_spark(self, spark: Any) -> Any:
        """A DataFrame of Spark, made by the given session."""
        return spark.createDataFrame(self.to_pandas())

    def to_tf(
        self,
        feature_columns: str | list[str],
        label_columns: str | list[str],
        *,
        additional_columns: str | list[str] | None = None,
        prefetch_batches: int = 1,
        batch_size: int = 1,
        drop_last: bool = False,
        local_shuffle_buffer_size: int | None = None,
        local_shuffle_seed: int | None = None,
        feature_type_spec: Any = None,
        label_type_spec: Any = None,
        additional_type_spec: Any = None,
    ) -> Any:
        """A ``tf.data.Dataset``; parameters as :meth:`rayjup.data.DataIterator.to_tf`."""
        return self.iterator().to_tf(
            feature_columns,
            label_columns,
            additional_columns=additional_columns,
            prefetch_batches=prefetch_batches,
            batch_size=batch_size,
            drop_last=drop_last,
            local_shuffle_buffer_size=local_shuffle_buffer_size,
            local_shuffle_seed=local_shuffle_seed,
            feature_type_spec=feature_type_spec,
            label_type_spec=label_type_spec,
            additional_type_spec=additional_type_spec,
        )


def _frame(bundle: Any) -> Any:
    return convert.to_pandas(bundle.table())
