"""Datasets in the formats of other libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from rayjup.data.datasource.pieces import need

if TYPE_CHECKING:
    import pyarrow as pa


class ConvertMixin:
    """Datasets in the formats of other libraries."""

    if TYPE_CHECKING:

        def _tables(self) -> Iterator[pa.Table]:
            """Defined by the dataset."""

        def to_pandas(self, limit: int | None = None) -> Any:
            """Defined by the mix-in that consumes."""

        iter_batches: Callable[..., Iterable[Any]]

        def schema(self) -> Any:
            """Defined by the mix-in that inspects."""

    def _arrow(self) -> pa.Table:
        from rayjup.data.block.unify import concat

        return concat(list(self._tables()))

    def to_dask(self, meta: Any = None, verify_meta: bool = True) -> Any:
        """A Dask DataFrame, a partition per block.

        Parameters
        ----------
        meta
            What a partition looks like; by default an empty one of the dataset's schema.
        verify_meta
            Whether Dask checks partitions against it.
        """
        frame = need("dask.dataframe", "to_dask", "dask[dataframe]")
        delayed = need("dask", "to_dask").delayed
        from rayjup.data.block.convert import to_pandas

        tables = list(self._tables())
        parts = [delayed(to_pandas)(table) for table in tables]
        if meta is None:
            meta = to_pandas(tables[0].slice(0, 0)) if tables else self.to_pandas()
        elif isinstance(meta, dict) or (isinstance(meta, (list, tuple)) and not hasattr(meta, "dtypes")):
            import pandas as pd

            pairs = meta.items() if isinstance(meta, dict) else meta
            meta = pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in pairs})
        return frame.from_delayed(parts or [delayed(lambda: meta)()], meta=meta, verify_meta=verify_meta)

    def to_daft(self) -> Any:
        """A Daft DataFrame."""
        return need("daft", "to_daft").from_arrow(self._arrow())

    def to_modin(self) -> Any:
        """A Modin DataFrame."""
        return need("modin.pandas", "to_modin", "modin").DataFrame(self.to_pandas())

    def to_mars(self) -> Any:
        """A Mars DataFrame."""
        return need("mars.dataframe", "to_mars", "pymars").DataFrame(self.to_pandas())

    def to_spark(self, spark: Any) -> Any:
        """A Spark DataFrame.

        Parameters
        ----------
        spark
            The Spark session.
        """
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
        """A ``tf.data.Dataset`` of pairs of features and labels, or triples with additional columns.

        Parameters
        ----------
        feature_columns, label_columns, additional_columns
            A name gives a tensor, a list of names a dict of tensors.
        prefetch_batches, batch_size, drop_last, local_shuffle_buffer_size, local_shuffle_seed
            As for ``iter_batches``.
        feature_type_spec, label_type_spec, additional_type_spec
            Type specifications of TensorFlow; by default worked out from the first batch.
        """
        tensorflow = need("tensorflow", "to_tf")
        groups = [feature_columns, label_columns]
        specs = [feature_type_spec, label_type_spec]
        if additional_columns is not None:
            groups.append(additional_columns)
            specs.append(additional_type_spec)
        known = self.schema().names
        for group in groups:
            for name in [group] if isinstance(group, str) else group:
                if name not in known:
                    raise ValueError(f"There is no column {name!r}; the columns are {', '.join(known)}.")

        def chosen(batch: dict[str, Any], columns: str | list[str]) -> Any:
            return batch[columns] if isinstance(columns, str) else {name: batch[name] for name in columns}

        def generate() -> Iterator[Any]:
            for batch in self.iter_batches(
                prefetch_batches=prefetch_batches,
                batch_size=batch_size,
                drop_last=drop_last,
                local_shuffle_buffer_size=local_shuffle_buffer_size,
                local_shuffle_seed=local_shuffle_seed,
                batch_format="numpy",
            ):
                yield tuple(chosen(batch, group) for group in groups)

        first = next(iter(self.iter_batches(batch_size=1, batch_format="numpy")), None)

        def spec(columns: str | list[str], given: Any) -> Any:
            if given is not None or first is None:
                return given

            def of(name: str) -> Any:
                array = first[name]
                return tensorflow.TensorSpec((None, *array.shape[1:]), tensorflow.as_dtype(array.dtype), name)

            return of(columns) if isinstance(columns, str) else {name: of(name) for name in columns}

        signature = tuple(spec(group, given) for group, given in zip(groups, specs, strict=True))
        made = tensorflow.data.Dataset.from_generator(generate, output_signature=signature)
        options = tensorflow.data.Options()
        options.experimental_distribute.auto_shard_policy = tensorflow.data.experimental.AutoShardPolicy.OFF
        return made.with_options(options)
