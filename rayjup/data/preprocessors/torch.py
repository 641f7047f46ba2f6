"""Images prepared by a transformation of torchvision, or anything that gives tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rayjup.data.block.convert import BatchFormat
from rayjup.data.preprocessor import stored_as
from rayjup.data.preprocessors.columns import ColumnPreprocessor


@stored_as("io.ray.preprocessors.torchvision_preprocessor")
class TorchVisionPreprocessor(ColumnPreprocessor):
    """Columns of images given to a transformation, one image or one batch at a time.

    Parameters
    ----------
    columns
        The columns.
    transform
        Is given an array (or a tensor, if it wants one), and gives a tensor or an array.
    output_columns
        Where to put the results; by default in their place.
    batched
        Whether it is given whole batches.
    """

    _is_fittable = False

    def __init__(
        self,
        columns: list[str],
        transform: Callable[[Any], Any],
        output_columns: list[str] | None = None,
        batched: bool = False,
    ) -> None:
        super().__init__(columns, output_columns)
        self._torchvision_transform, self._batched = transform, batched

    @property
    def torchvision_transform(self) -> Callable[[Any], Any]:
        """The transformation."""
        return self._torchvision_transform

    @property
    def batched(self) -> bool:
        """Whether it is given whole batches."""
        return self._batched

    @classmethod
    def preferred_batch_format(cls) -> BatchFormat:
        """Arrays."""
        return BatchFormat.NUMPY

    def _settings(self) -> dict[str, Any]:
        return {"torchvision_transform": self._torchvision_transform, "batched": self._batched}

    def _transform_column(self, name: str, column: Any) -> Any:
        from rayjup.data.block.convert import column_to_numpy, to_column

        images = column_to_numpy(column)
        if self._batched:
            return to_column(self._applied(images, name), name)
        rows = [self._applied(image, name) for image in images]
        if not rows:
            return to_column(np.empty(0), name)
        if len({row.shape for row in rows}) == 1:
            return to_column(np.stack(rows), name)
        ragged = np.empty(len(rows), dtype=object)
        for place, row in enumerate(rows):
            ragged[place] = row
        return to_column(ragged, name)

    def _applied(self, images: np.ndarray, name: str) -> np.ndarray:
        images = images if images.flags.writeable else images.copy()
        try:
            out = self._torchvision_transform(images)
        except TypeError:
            # Most transformations want tensors; only some (ToTensor) want arrays.
            import torch

            out = self._torchvision_transform(torch.as_tensor(images))
        if isinstance(out, np.ndarray):
            return out
        if hasattr(out, "detach"):
            return out.detach().cpu().numpy()
        raise ValueError(
            f"The transformation of column {name!r} gave a {type(out).__name__}; "
            "it has to give a tensor or an array."
        )
