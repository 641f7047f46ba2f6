"""Running a cell on the cluster: the plain Python twins of ``%%ray_remote`` and ``%%ray_map``."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import rayjup
from rayjup.notebook.cell_code import cell_code, variables_for
from rayjup.notebook.remote_cell import CellActor, CellCode, CellTask, ItemTask

ACTOR_NAMESPACE = "rayjup-notebook-cells"

_numbers = itertools.count(1)
_actor_names: dict[str, set[str]] = {}  # by actor: its own variables, which need not be sent


def run_cell(
    body: str,
    variables: Mapping[str, Any],
    *,
    out: Sequence[str] = (),
    actor: str | None = None,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    magic_line: str = "",
    filename: str | None = None,
) -> tuple[Any, dict[str, Any]]:
    """Run code in a task (or in the actor ``actor``) and wait for it.

    Parameters
    ----------
    body : str
        Python code. It sees those of ``variables`` that it uses.
    out : sequence of str
        Variables to bring back.
    actor : str, optional
        Run in the actor of this name, which is made if need be and keeps the variables of its cells.
    num_cpus, num_gpus : float, optional
        What the task or actor holds.
    magic_line, filename
        For the line numbers of errors.

    Returns
    -------
    value, variables
        The value of the last expression, and what ``out`` names.

    Examples
    --------
    >>> import rayjup as ray
    >>> _ = ray.init(num_cpus=1, ignore_reinit_error=True)
    >>> run_cell("total = sum(numbers)", {"numbers": [1, 2, 3]}, out=["total"])
    (None, {'total': 6})
    """
    code = cell_code(body, magic_line, filename or f"<remote cell {next(_numbers)}>")
    options = _options(num_cpus=num_cpus, num_gpus=num_gpus)
    if actor is not None:
        return _run_in_actor(code, variables, list(out), actor, options)
    task = CellTask(code, variables_for(code, variables), list(out))
    call = rayjup.remote(named(task, "ray_remote cell"))
    value, found = _result(call.options(**options).remote() if options else call.remote())
    return value, found


def map_cell(
    body: str,
    item: str,
    items: Iterable[Any],
    variables: Mapping[str, Any],
    *,
    out: Sequence[str] = (),
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    errors: str = "raise",
    progress: Callable[[int, int, int], None] | None = None,
    magic_line: str = "",
    filename: str | None = None,
) -> list[Any]:
    """Run code once per item, in parallel; the results in the order of the items.

    Parameters
    ----------
    body : str
        Python code; the variable ``item`` holds the item.
    out : sequence of str
        Variables that make the result; without any, it is the value of the last expression.
    errors : {"raise", "keep"}
        At the first failure cancel the others and raise, or put errors among the results.
    progress : callable, optional
        Called with (finished, failed, all) while it goes on.

    Examples
    --------
    >>> import rayjup as ray
    >>> _ = ray.init(num_cpus=1, ignore_reinit_error=True)
    >>> map_cell("x * factor", "x", [1, 2, 3], {"factor": 10})
    [10, 20, 30]
    """
    if errors not in ("raise", "keep"):
        raise ValueError(f'errors={errors!r}: "raise" ends at the first failure, "keep" goes on')
    if not item.isidentifier():
        raise ValueError(f"{item!r} is no name for the item: write %%ray_map x in xs")
    code = cell_code(body, magic_line, filename or f"<mapped cell {next(_numbers)}>")
    task = ItemTask(code, variables_for(code, variables, without=[item]), item, list(out))
    call = rayjup.remote(named(task, "ray_map cell"))
    options = _options(num_cpus=num_cpus, num_gpus=num_gpus)
    if options:
        call = call.options(**options)
    values = list(items)
    refs = [call.remote(value) for value in values]
    try:
        return _gather(refs, values, errors, progress)
    except BaseException:  # an interrupt, too, ends what is under way
        for ref in refs:
            rayjup.cancel(ref)
        raise


def _gather(
    refs: list[Any], values: list[Any], errors: str, progress: Callable[[int, int, int], None] | None
) -> list[Any]:
    results: list[Any] = [None] * len(refs)
    places = {ref: index for index, ref in enumerate(refs)}
    waiting, finished, failed = list(refs), 0, 0
    while waiting:
        ready, waiting = rayjup.wait(waiting, num_returns=len(waiting), timeout=0.25)
        for ref in ready:
            try:
                results[places[ref]] = rayjup.get(ref)
                finished += 1
            except rayjup.exceptions.RayError as error:
                failed += 1
                if errors == "raise":
                    # Not add_note: Python 3.10 has none, and the magic shows the notes by itself.
                    error.__notes__ = [_which(places[ref], values)]  # type: ignore[attr-defined]
                    raise
                results[places[ref]] = error
        if progress is not None:
            progress(finished, failed, len(refs))
    return results


def _which(index: int, values: list[Any]) -> str:
    shown = repr(values[index])
    return f"for item {index}: {shown if len(shown) < 200 else shown[:199] + '…'}"


def _run_in_actor(
    code: CellCode, variables: Mapping[str, Any], out: list[str], name: str, options: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    class_: Any = rayjup.remote(CellActor)
    options.setdefault("num_cpus", 0)
    actor = class_.options(
        name=name, namespace=ACTOR_NAMESPACE, lifetime="detached", get_if_exists=True, **options
    ).remote()
    key = actor._id.hex()
    if key not in _actor_names:
        _actor_names[key] = set(rayjup.get(actor.names.remote()))
    sent = variables_for(code, variables, without=_actor_names[key])
    value, found, names = _result(actor.run.remote(code, sent, out))
    _actor_names[key] = set(names)
    return value, found


def _result(ref: Any) -> Any:
    """The value of ``ref``; an interrupt cancels what makes it."""
    try:
        return rayjup.get(ref)
    except KeyboardInterrupt:
        rayjup.cancel(ref)
        raise


def _options(**given: Any) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def named(task: Any, name: str) -> Any:
    """A function that calls ``task``, under a name for displays and messages."""

    def call(*args: Any) -> Any:
        return task(*args)

    call.__name__ = call.__qualname__ = name
    return call
