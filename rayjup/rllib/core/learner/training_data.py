"""What a learner is given to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class TrainingData:
    """One of: a batch by module, several batches, episodes, references to them, or an iterator of batches."""

    batch: Any = None
    batches: Any = None
    batch_refs: Any = None
    episodes: Any = None
    episodes_refs: Any = None
    data_iterators: Any = None

    def validate(self) -> None:
        """Raise unless exactly one thing is given."""
        given = [name for name, value in vars(self).items() if value is not None]
        if len(given) != 1:
            raise ValueError(f"training data needs one of {list(vars(self))}, not {given}.")

    def solve_refs(self) -> None:
        """Fetch what references point at."""
        import rayjup

        if self.batch_refs is not None:
            self.batches, self.batch_refs = rayjup.get(list(self.batch_refs)), None
        if self.episodes_refs is not None:
            lists = rayjup.get(list(self.episodes_refs))
            self.episodes, self.episodes_refs = [e for part in lists for e in part], None
