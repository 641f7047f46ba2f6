"""Several datasets made one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.data.kernels import joining
from rayjup.data.logical.base import Op
from rayjup.data.logical.combine import Join, Mix, MixStoppingCondition, Union, Zip

if TYPE_CHECKING:
    from rayjup.data.dataset import Dataset


class CombineMixin:
    """Several datasets made one."""

    _op: Op
    _with: Callable[[Op], Dataset]

    def union(self, *other: Dataset) -> Dataset:
        """The rows of this one, then of the others. Columns that one lacks are null there.

        Examples
        --------
        >>> import rayjup
        >>> rayjup.data.range(1).union(rayjup.data.range(2)).take_all()
        [{'id': 0}, {'id': 0}, {'id': 1}]
        """
        return self._with(Union((self._op, *(o._op for o in other))))

    def zip(self, *other: Dataset) -> Dataset:
        """The columns of this one and the others side by side; a name that is taken gets a number.

        All must have the same number of rows.
        """
        return self._with(Zip((self._op, *(o._op for o in other))))

    def mix(
        self,
        *other: Dataset,
        weights: list[float] | None = None,
        stopping_condition: MixStoppingCondition = MixStoppingCondition.STOP_ON_LONGEST_DROP,
    ) -> Dataset:
        """Blocks of this one and the others in turn, their rows in proportion to ``weights``."""
        count = 1 + len(other)
        shares = [1.0] * count if weights is None else list(weights)
        if len(shares) != count or any(w <= 0 for w in shares):
            raise ValueError(f"mix: weights={weights} must be {count} positive numbers.")
        return self._with(
            Mix((self._op, *(o._op for o in other)), tuple(shares), MixStoppingCondition(stopping_condition))
        )

    def join(
        self,
        ds: Dataset,
        join_type: str,
        num_partitions: int | None = None,
        on: tuple[str, ...] | list[str] | str = ("id",),
        right_on: tuple[str, ...] | list[str] | str | None = None,
        left_suffix: str | None = None,
        right_suffix: str | None = None,
        *,
        partition_size_hint: int | None = None,
        aggregator_ray_remote_args: dict[str, Any] | None = None,
        validate_schemas: bool = False,
    ) -> Dataset:
        """Rows of this and another dataset whose keys are equal.

        Parameters
        ----------
        join_type : str
            ``inner``, ``left_outer``, ``right_outer``, ``full_outer``, ``left_semi``, ``right_semi``,
            ``left_anti``,
            ``right_anti``.
        num_partitions : int, optional
            In how many parts the rows are exchanged; None: as their size suggests.
        on, right_on
            The keys here, and there (the same where not given).
        left_suffix, right_suffix
            Added to names that both sides have.
        validate_schemas : bool
            Look at both schemas at once instead of when it runs.

        Examples
        --------
        >>> import rayjup
        >>> a = rayjup.data.from_items([{"id": 1, "x": 10}, {"id": 2, "x": 20}])
        >>> b = rayjup.data.from_items([{"id": 2, "y": 5}])
        >>> a.join(b, "inner", 1).take_all()
        [{'id': 2, 'x': 20, 'y': 5}]
        """
        joining.check(join_type)
        left = (on,) if isinstance(on, str) else tuple(on)
        right = left if right_on is None else (right_on,) if isinstance(right_on, str) else tuple(right_on)
        if not left or len(left) != len(right):
            raise ValueError(
                f"join: on={on!r} and right_on={right_on!r} must name the same number of columns."
            )
        if num_partitions is not None and num_partitions < 1:
            raise ValueError(f"join: num_partitions={num_partitions} must be at least 1.")
        if validate_schemas:
            one, two = self.schema(), ds.schema()  # type: ignore[attr-defined]
            joining.output_names(
                one.names if one else [],
                two.names if two else [],
                join_type,
                left,
                right,
                left_suffix,
                right_suffix,
            )
        return self._with(
            Join((self._op, ds._op), join_type, left, right, left_suffix, right_suffix, num_partitions)
        )
