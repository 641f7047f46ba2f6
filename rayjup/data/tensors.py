"""Batches as tensors of torch, TensorFlow and JAX; each imported only when it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rayjup.data.block.convert import writable

if TYPE_CHECKING:
    from rayjup.data.iterator import DataIterator


def _numbers(array: Any, name: str, library: str) -> np.ndarray:
    """The array, or an error where it holds no numbers."""
    if array.dtype == object:
        try:
            array = np.stack([np.asarray(v) for v in array])
        except ValueError as error:
            raise TypeError(
                f"column {name!r} has rows of different shapes, which are no {library} tensor: give a "
                "collate_fn that pads "
                "them, or select other columns."
            ) from error
    if array.dtype.kind not in "biufc":
        raise TypeError(
            f"column {name!r} holds {array.dtype}, which is no {library} tensor: select other columns, "
            "or give a collate_fn."
        )
    return array


def torch_options(
    dtypes: Any, device: Any, collate_fn: Any, pin_memory: bool
) -> tuple[str, Callable[[Any], Any], Callable[[Any], Any] | None]:
    """Batch format, what makes tensors of a batch, and what moves them where they are wanted."""
    try:
        import torch
    except ImportError as error:
        raise ImportError("iter_torch_batches needs torch: pip install 'rayjup[train]'") from error
    target = _device(device)
    batch_format = "numpy"
    if collate_fn is not None:
        kind = {c.__name__ for c in type(collate_fn).__mro__}
        batch_format = (
            "pyarrow"
            if "ArrowBatchCollateFn" in kind
            else "pandas"
            if "PandasBatchCollateFn" in kind
            else "numpy"
        )
        collate = collate_fn
    else:

        def collate(batch: Mapping[str, Any]) -> Any:
            out = {}
            for name, array in batch.items():
                dtype = dtypes.get(name) if isinstance(dtypes, Mapping) else dtypes
                array = _numbers(array, name, "torch")
                if array.dtype == np.uint16:
                    array = array.astype(np.int32)
                elif array.dtype == np.uint32:
                    array = array.astype(np.int64)
                tensor = torch.as_tensor(writable(array))
                out[name] = tensor if dtype is None else tensor.to(dtype)
            return out

    if (target is None or torch.device(target).type == "cpu") and not pin_memory:
        return batch_format, collate, None

    def move(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            if pin_memory:
                value = value.pin_memory()
            return value if target is None else value.to(target, non_blocking=pin_memory)
        if isinstance(value, Mapping):
            return {k: move(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(move(v) for v in value)
        return value

    return batch_format, collate, move


def _device(device: Any) -> Any:
    """The device; for "auto" that of the training worker that runs here."""
    import sys

    if device != "auto":
        return device
    train = sys.modules.get("rayjup.train.torch")
    if train is not None and hasattr(train, "get_device"):
        try:
            return train.get_device()
        except RuntimeError:  # not in a training worker
            return None
    return None


def to_tf(batch: Mapping[str, Any], dtypes: Any) -> dict[str, Any]:
    """A batch as tensors; ragged columns as ragged tensors."""
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ImportError("this needs tensorflow: pip install tensorflow") from error
    out = {}
    for name, array in batch.items():
        dtype = dtypes.get(name) if isinstance(dtypes, Mapping) else dtypes
        if array.dtype == object and len(array) and not isinstance(array[0], (str, bytes)):
            tensor = tf.ragged.stack([tf.convert_to_tensor(v) for v in array])
        else:
            tensor = tf.convert_to_tensor(array.tolist() if array.dtype == object else array)
        out[name] = tensor if dtype is None else tf.cast(tensor, dtype)
    return out


def jax_collate(dtypes: Any, collate_fn: Any, paddings: Any) -> Callable[[Any], Any]:
    """What makes JAX arrays of a batch."""
    try:
        import jax.numpy as jnp
    except ImportError as error:
        raise ImportError("iter_jax_batches needs jax: pip install jax") from error
    if collate_fn is not None:
        return collate_fn

    def collate(batch: Mapping[str, Any]) -> dict[str, Any]:
        out = {}
        for name, array in batch.items():
            padding = paddings.get(name) if isinstance(paddings, Mapping) else paddings
            if array.dtype == object and padding is not None:
                array = _padded(array, padding)
            dtype = dtypes.get(name) if isinstance(dtypes, Mapping) else dtypes
            out[name] = jnp.asarray(_numbers(array, name, "JAX"), dtype=dtype)
        return out

    return collate


def _padded(array: Any, value: Any) -> np.ndarray:
    """Vectors of different lengths as one matrix."""
    rows = [np.asarray(v) for v in array]
    out = np.full((len(rows), max(len(r) for r in rows)), value, dtype=np.result_type(*rows))
    for row, values in zip(out, rows, strict=True):
        row[: len(values)] = values
    return out


def tf_dataset(
    iterator: DataIterator,
    features: str | list[str],
    labels: str | list[str],
    additional: str | list[str] | None,
    options: dict[str, Any],
    specs: tuple[Any, Any, Any],
) -> Any:
    """A ``tf.data.Dataset`` over an iterator."""
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ImportError("to_tf needs tensorflow: pip install tensorflow") from error
    groups = [features, labels] + ([additional] if additional is not None else [])

    def chosen(batch: Mapping[str, Any], names: str | list[str]) -> Any:
        return batch[names] if isinstance(names, str) else {n: batch[n] for n in names}

    def generate() -> Any:
        for batch in iterator.iter_tf_batches(**options):
            yield tuple(chosen(batch, names) for names in groups)

    first = next(iter(iterator.iter_tf_batches(batch_size=1)), None)
    if first is None:
        raise ValueError("to_tf: the dataset has no rows, so the types of its columns are not known.")

    def spec(names: str | list[str]) -> Any:
        def one(name: str) -> Any:
            tensor = first[name]
            shape = tf.TensorShape([None, *tensor.shape[1:]])
            if isinstance(tensor, tf.RaggedTensor):
                return tf.RaggedTensorSpec(shape, tensor.dtype)
            return tf.TensorSpec(shape, tensor.dtype, name=name)

        return one(names) if isinstance(names, str) else {n: one(n) for n in names}

    given = [s if s is not None else spec(names) for s, names in zip(specs, groups, strict=False)]
    return tf.data.Dataset.from_generator(generate, output_signature=tuple(given))
