"""What all operators have."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Op:
    """An operator of a plan.

    Parameters
    ----------
    inputs : tuple of Op
        Where its rows come from.
    """

    inputs: tuple[Op, ...]

    @property
    def name(self) -> str:
        """As shown in plans and statistics."""
        return type(self).__name__

    @property
    def keeps_rows(self) -> bool:
        """True if each row of the (one) input gives one row, in the same order."""
        return False

    def with_inputs(self, *inputs: Op) -> Op:
        """The same operator on other inputs."""
        if all(a is b for a, b in zip(inputs, self.inputs, strict=True)):
            return self
        return dataclasses.replace(self, inputs=inputs)


def walk(op: Op) -> Iterator[Op]:
    """All operators, inputs first, each once."""
    seen: set[int] = set()

    def visit(node: Op) -> Iterator[Op]:
        if id(node) in seen:
            return
        seen.add(id(node))
        for child in node.inputs:
            yield from visit(child)
        yield node

    yield from visit(op)


def rewrite(op: Op, rule: Callable[[Op], Op]) -> Op:
    """Apply a rule to each operator, inputs first."""
    done: dict[int, Op] = {}

    def visit(node: Op) -> Op:
        known = done.get(id(node))
        if known is None:
            known = done[id(node)] = rule(node.with_inputs(*(visit(c) for c in node.inputs)))
        return known

    return visit(op)


def describe(op: Op, detail: Callable[[Op], str] = lambda op: op.name) -> str:
    """The plan as a tree of text, last operator first."""
    lines: list[str] = []

    def visit(node: Op, depth: int) -> None:
        lines.append(detail(node) if not depth else f"{'   ' * (depth - 1)}+- {detail(node)}")
        for child in node.inputs:
            visit(child, depth + 1)

    visit(op, 0)
    return "\n".join(lines)


@dataclass(frozen=True)
class Remote:
    """What a stage asks of the cluster; None and empty: nothing special."""

    num_cpus: float | None = None
    num_gpus: float | None = None
    memory: float | None = None
    more: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(
        cls,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        memory: float | None = None,
        **more: Any,
    ) -> Remote:
        """From the arguments of a method; those that are None say nothing."""
        return cls(
            num_cpus, num_gpus, memory, tuple((k, v) for k, v in sorted(more.items()) if v is not None)
        )

    @property
    def plain(self) -> bool:
        """True if nothing special is asked for."""
        return self.num_cpus in (None, 1) and not self.num_gpus and not self.memory and not self.more

    def options(self) -> dict[str, Any]:
        """As arguments of ``options()``."""
        out = dict(self.more)
        for key in ("num_cpus", "num_gpus", "memory"):
            value = getattr(self, key)
            if value is not None:
                out[key] = value
        return out


NOTHING = Remote()
"""Nothing special is asked for."""
