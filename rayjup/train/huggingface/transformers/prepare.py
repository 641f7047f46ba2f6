"""Making a ``transformers.Trainer`` fit for shares of data sets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rayjup.runs.extras import load


def prepare_trainer(trainer: Any) -> Any:
    """A trainer whose data may be what a data set's ``iter_torch_batches()`` gives.

    Parameters
    ----------
    trainer
        The ``transformers.Trainer``; the same object comes back.
    """
    torch = load("torch", "prepare_trainer()", "rayjup[train]")
    load("transformers", "prepare_trainer()", "transformers")

    class Batches(torch.utils.data.IterableDataset):  # type: ignore[misc,name-defined,unused-ignore]
        """Ready batches as an iterable data set."""

        def __init__(self, batches: Any) -> None:
            super().__init__()
            self._batches = batches

        def __iter__(self) -> Iterator[Any]:
            yield from iter(self._batches)

    def is_ready(data: Any) -> bool:
        """Whether these are batches, rather than rows that the trainer has to put together."""
        return (
            hasattr(data, "__iter__") and not hasattr(data, "__getitem__") and not hasattr(data, "features")
        )

    class Prepared(trainer.__class__):  # type: ignore[misc,name-defined,unused-ignore]
        """The trainer's class, taking ready batches."""

        def get_train_dataloader(self) -> Any:
            if is_ready(self.train_dataset):
                return torch.utils.data.DataLoader(
                    Batches(self.train_dataset), batch_size=1, collate_fn=_first
                )
            return super().get_train_dataloader()

        def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
            data = self.eval_dataset if eval_dataset is None else eval_dataset
            if is_ready(data):
                return torch.utils.data.DataLoader(Batches(data), batch_size=1, collate_fn=_first)
            return super().get_eval_dataloader(eval_dataset)

    Prepared.__name__ = trainer.__class__.__name__
    trainer.__class__ = Prepared
    return trainer


def _first(batches: list[Any]) -> Any:
    return batches[0]
