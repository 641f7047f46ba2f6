"""What all preprocessors are: fitted on a dataset, then applied to datasets and batches."""

from __future__ import annotations

import abc
import base64
import functools
import pickle
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

import cloudpickle

from rayjup.data.block.convert import to_batch, to_table

if TYPE_CHECKING:
    from rayjup.data.aggregate import AggregateFnV2
    from rayjup.data.dataset import Dataset

__all__ = [
    "Preprocessor",
    "PreprocessorNotFittedException",
    "SerializablePreprocessorBase",
    "StatComputationPlan",
]


class PreprocessorNotFittedException(RuntimeError):
    """Raised where a preprocessor is applied before it has been fitted."""


class StatComputationPlan:
    """What has to be known of a dataset; all of it is computed in one pass."""

    def __init__(self) -> None:
        self._steps: list[tuple[AggregateFnV2[Any, Any], Callable[[Any], dict[str, Any]]]] = []

    def reset(self) -> None:
        """Forget everything."""
        self._steps.clear()

    def has_custom_aggregation(self) -> bool:
        """Whether there is anything to compute."""
        return bool(self._steps)

    def add(
        self, aggregation: AggregateFnV2[Any, Any], use: Callable[[Any], dict[str, Any]] | None = None
    ) -> None:
        """Compute an aggregation; ``use`` makes statistics of its result (by default one of its name)."""
        name = aggregation.name
        self._steps.append((aggregation, use or (lambda value: {name: value})))

    def add_aggregator(
        self,
        *,
        aggregator_fn: Callable[[str], AggregateFnV2[Any, Any]],
        columns: list[str],
        post_process_fn: Callable[[Any], Any] | None = None,
        post_key_fn: Callable[[str], str] | None = None,
    ) -> None:
        """Compute an aggregation of each column."""
        for column in columns:
            aggregation = aggregator_fn(column)
            key = post_key_fn(column) if post_key_fn is not None else aggregation.name
            done = post_process_fn or (lambda value: value)
            self.add(aggregation, lambda value, key=key, done=done: {key: done(value)})  # type: ignore[misc]

    def compute(self, dataset: Dataset) -> dict[str, Any]:
        """All statistics, from one pass over the dataset."""
        if not self._steps:
            return {}
        # Two statistics may come from aggregations of the same name; each gets a name of its own.
        import copy

        renamed = []
        for place, (aggregation, _) in enumerate(self._steps):
            one = copy.copy(aggregation)
            one.name = f"{place}:{aggregation.name}"
            renamed.append(one)
        results = dataset.aggregate(*renamed)
        stats: dict[str, Any] = {}
        for one, (_, use) in zip(renamed, self._steps, strict=True):
            stats.update(use(results[one.name]))
        return stats


class Preprocessor(abc.ABC):  # noqa: B024 — which of three methods to define is up to the subclass
    """Prepares data. Subclasses define ``_transform_pandas`` or ``_transform_numpy``, and ``_fit``.

    Examples
    --------
    >>> from rayjup.data.preprocessor import Preprocessor
    >>> class Doubled(Preprocessor):
    ...     _is_fittable = False
    ...     def _transform_numpy(self, data):
    ...         return {"x": data["x"] * 2}
    >>> import numpy as np
    >>> Doubled().transform_batch({"x": np.array([1, 2])})["x"].tolist()
    [2, 4]
    """

    class FitStatus(str, Enum):
        """How far fitting has come."""

        NOT_FITTABLE = "NOT_FITTABLE"
        NOT_FITTED = "NOT_FITTED"
        PARTIALLY_FITTED = "PARTIALLY_FITTED"
        FITTED = "FITTED"

    # Whether there is something to fit.
    _is_fittable = True
    _fitted = False
    stats_: dict[str, Any] | None = None

    @property
    def stat_computation_plan(self) -> StatComputationPlan:
        """What is to be computed when it is fitted."""
        plan = self.__dict__.get("_plan")
        if plan is None:
            plan = self.__dict__["_plan"] = StatComputationPlan()
        return plan

    def fit_status(self) -> Preprocessor.FitStatus:
        """How far fitting has come."""
        if not self._is_fittable:
            return Preprocessor.FitStatus.NOT_FITTABLE
        done = self._fitted or self.has_stats()
        return Preprocessor.FitStatus.FITTED if done else Preprocessor.FitStatus.NOT_FITTED

    def has_stats(self) -> bool:
        """Whether there are statistics of a dataset."""
        return bool(self.stats_)

    def _state_ends_with(self, suffix: str) -> bool:
        return any(key.endswith(suffix) for key in vars(self))

    # Fitting.

    def fit(self, ds: Dataset) -> Preprocessor:
        """Learn from a dataset what is needed; gives itself.

        Parameters
        ----------
        ds
            The dataset; one pass over it is made.
        """
        if not self._is_fittable:
            return self
        self.stat_computation_plan.reset()
        fitted = self._fit(ds)
        if self.stat_computation_plan.has_custom_aggregation():
            computed = self.stat_computation_plan.compute(ds)
            self.stats_ = self._finish_stats(computed)
        self._fitted = True
        return fitted if isinstance(fitted, Preprocessor) else self

    def _fit(self, dataset: Dataset) -> Preprocessor:
        """Say what is to be computed (``stat_computation_plan``), or set ``stats_``."""
        raise NotImplementedError(
            f"{type(self).__name__} must define _fit(dataset), or set _is_fittable = False."
        )

    def _finish_stats(self, computed: dict[str, Any]) -> dict[str, Any]:
        return computed

    def fit_transform(
        self,
        ds: Dataset,
        *,
        transform_num_cpus: float | None = None,
        transform_memory: float | None = None,
        transform_batch_size: int | None = None,
        transform_concurrency: int | None = None,
    ) -> Dataset:
        """Fit, and transform the same dataset.

        Parameters
        ----------
        ds
            The dataset.
        transform_num_cpus, transform_memory, transform_batch_size, transform_concurrency
            As for ``transform``.
        """
        self.fit(ds)
        return self.transform(
            ds,
            batch_size=transform_batch_size,
            num_cpus=transform_num_cpus,
            memory=transform_memory,
            concurrency=transform_concurrency,
        )

    # Transforming.

    def transform(
        self,
        ds: Dataset,
        *,
        batch_size: int | None = None,
        num_cpus: float | None = None,
        memory: float | None = None,
        concurrency: int | None = None,
    ) -> Dataset:
        """The dataset prepared; lazily, as all transformations are.

        Parameters
        ----------
        ds
            The dataset.
        batch_size
            Rows at a time; whole blocks by default.
        num_cpus, memory, concurrency
            For the tasks.
        """
        self._check_fitted("transform")
        options: dict[str, Any] = {"num_cpus": num_cpus, "memory": memory, "concurrency": concurrency}
        return ds.map_batches(
            _Transform(self),
            batch_size=batch_size,
            batch_format="pyarrow",
            zero_copy_batch=True,
            **{key: value for key, value in options.items() if value is not None},
        )

    def transform_batch(self, data: Any) -> Any:
        """A batch prepared: a DataFrame, a dict of arrays or an Arrow table; the result is of the same kind.

        Parameters
        ----------
        data
            The batch.
        """
        self._check_fitted("transform_batch")
        kind = self._transform_kind()
        if kind == "pandas" and _is_frame(data):
            return self._transform_pandas(data.copy())  # type: ignore[attr-defined]
        if kind == "numpy" and isinstance(data, dict):
            return self._transform_numpy(dict(data))  # type: ignore[attr-defined]
        made = self._transform_table(to_table(data))
        if _is_frame(data):
            out = to_batch(made, "pandas")
            if len(out) == len(data):
                out.index = data.index
            return out
        return to_batch(made, "numpy") if isinstance(data, dict) else made

    def _check_fitted(self, what: str) -> None:
        if self.fit_status() in (
            Preprocessor.FitStatus.PARTIALLY_FITTED,
            Preprocessor.FitStatus.NOT_FITTED,
        ):
            raise PreprocessorNotFittedException(
                f"{self!r} has not been fitted: call fit(dataset), or fit_transform(dataset), before {what}."
            )

    def _transform_kind(self) -> str:
        for kind in ("arrow", "pandas", "numpy"):
            if hasattr(self, f"_transform_{kind}"):
                return kind
        raise NotImplementedError(
            f"{type(self).__name__} must define _transform_pandas(df) or _transform_numpy(data)."
        )

    def _transform_table(self, table: Any) -> Any:
        """An Arrow table prepared."""
        kind = self._transform_kind()
        if kind == "arrow":
            return self._transform_arrow(table)  # type: ignore[attr-defined]
        if kind == "pandas":
            return to_table(self._transform_pandas(to_batch(table, "pandas")))  # type: ignore[attr-defined]
        return to_table(self._transform_numpy(to_batch(table, "numpy")))  # type: ignore[attr-defined]

    # Columns.

    def get_input_columns(self) -> list[str]:
        """The columns that it reads."""
        return list(getattr(self, "_columns", []))

    def get_output_columns(self) -> list[str]:
        """The columns that it makes."""
        return list(getattr(self, "_output_columns", None) or self.get_input_columns())

    @classmethod
    def _derive_and_validate_output_columns(
        cls, columns: list[str], output_columns: list[str] | None
    ) -> list[str]:
        """Output columns, which are the input's by default and otherwise equally many."""
        if output_columns is not None and len(columns) != len(output_columns):
            raise ValueError(
                f"output_columns names {len(output_columns)} columns for {len(columns)} columns; "
                "give one for each."
            )
        return list(columns if output_columns is None else output_columns)

    # Serialization.

    def serialize(self) -> bytes:
        """The preprocessor with its statistics as bytes; ``deserialize`` makes it again."""
        return base64.b64encode(cloudpickle.dumps(self))

    @staticmethod
    def deserialize(serialized: bytes | str) -> Preprocessor:
        """The preprocessor that ``serialize`` made bytes of. Only for bytes of those whom you trust."""
        data = serialized.encode() if isinstance(serialized, str) else serialized
        if data.startswith(SerializablePreprocessorBase.MAGIC_CLOUDPICKLE):
            return SerializablePreprocessorBase._from_bytes(data)
        return pickle.loads(base64.b64decode(data))

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_plan"}


class _Transform:
    """What the tasks run; its name is shown in plans."""

    def __init__(self, preprocessor: Preprocessor) -> None:
        self.preprocessor = preprocessor
        functools.update_wrapper(self, type(self).__call__, assigned=())
        self.__name__ = type(preprocessor).__name__

    def __call__(self, table: Any) -> Any:
        return self.preprocessor._transform_table(table)


def _is_frame(data: Any) -> bool:
    return type(data).__module__.startswith("pandas") and type(data).__name__ == "DataFrame"


_Class = TypeVar("_Class", bound="type[SerializablePreprocessorBase]")
_registered: dict[str, type[SerializablePreprocessorBase]] = {}


class SerializablePreprocessorBase(Preprocessor, abc.ABC):
    """A preprocessor that is stored as its name, its settings and its statistics, not as its code."""

    MAGIC_CLOUDPICKLE = b"CPKL:"
    SERIALIZER_FORMAT_VERSION = 1

    @classmethod
    def get_preprocessor_class_id(cls) -> str:
        """The name under which it is stored."""
        return cls.__dict__.get("_class_id", f"{cls.__module__}.{cls.__qualname__}")

    @classmethod
    def set_preprocessor_class_id(cls, identifier: str) -> None:
        """Set the name under which it is stored."""
        cls._class_id = identifier  # type: ignore[attr-defined]
        _registered[identifier] = cls

    @classmethod
    def get_version(cls) -> int:
        """The version of what is stored."""
        return cls.__dict__.get("_version", 1)

    @classmethod
    def set_version(cls, version: int) -> None:
        """Set the version of what is stored."""
        cls._version = version  # type: ignore[attr-defined]

    def _get_serializable_fields(self) -> dict[str, Any]:
        return {key: value for key, value in self.__getstate__().items() if key != "stats_"}

    def _set_serializable_fields(self, fields: dict[str, Any], version: int) -> None:
        self.__dict__.update(fields)

    def serialize(self) -> bytes:
        """Name, version, settings and statistics as bytes."""
        content = {
            "type": self.get_preprocessor_class_id(),
            "version": self.get_version(),
            "fields": self._get_serializable_fields(),
            "stats": self.stats_,
            "serialization_format": "cloudpickle",
            "format_version": self.SERIALIZER_FORMAT_VERSION,
        }
        return self.MAGIC_CLOUDPICKLE + cloudpickle.dumps(content)

    @staticmethod
    def _from_bytes(data: bytes) -> Preprocessor:
        import rayjup.data.preprocessors  # noqa: F401 — registers those of rayjup

        content = pickle.loads(data[len(SerializablePreprocessorBase.MAGIC_CLOUDPICKLE) :])
        cls = _registered.get(content["type"])
        if cls is None:
            raise ValueError(
                f"There is no preprocessor class {content['type']!r} here. "
                "Import the module that defines it, and have it registered with set_preprocessor_class_id."
            )
        made = cls.__new__(cls)
        made._set_serializable_fields(content["fields"], content["version"])
        made.stats_ = content["stats"]
        return made


def stored_as(identifier: str, version: int = 1) -> Callable[[_Class], _Class]:
    """Give a preprocessor class the name and version under which it is stored."""

    def register(cls: _Class) -> _Class:
        cls.set_preprocessor_class_id(identifier)
        cls.set_version(version)
        return cls

    return register
