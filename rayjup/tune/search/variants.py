"""From a search space to configurations: grids are enumerated, domains drawn from, functions called last."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rayjup.runs.errors import TuneError
from rayjup.tune.search.sample import Categorical, Domain, walk

Path = tuple[Any, ...]


def grid_search(values: Iterable[Any]) -> dict[str, Iterable[Any]]:
    """Try all of these values, with ``num_samples`` draws of all other parameters for each.

    Examples
    --------
    >>> from rayjup import tune
    >>> tune.grid_search([10, 20])
    {'grid_search': [10, 20]}
    """
    return {"grid_search": values}


class RecursiveDependencyError(TuneError):
    """Parameters made by functions that need each other."""


class _Config(dict[str, Any]):
    """A configuration for functions: `config["a"]`, and the older spellings `config.a` and
    `spec.config.a`."""

    def __getattr__(self, name: str) -> Any:
        if name == "config":
            return self
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the configuration has no parameter {name!r}") from None


def _viewed(value: Any, unresolved: frozenset[Path], path: Path = ()) -> Any:
    """What a function sees: parameters that are not decided yet are not there."""
    if isinstance(value, Mapping):
        return _Config(
            {
                key: _viewed(inner, unresolved, (*path, key))
                for key, inner in value.items()
                if (*path, key) not in unresolved
            }
        )
    if isinstance(value, list):
        return [_viewed(inner, unresolved, (*path, i)) for i, inner in enumerate(value)]
    return value


def is_grid(value: Any) -> bool:
    """Whether a value is a grid, in either spelling."""
    return (isinstance(value, Domain) and value.is_grid()) or (
        isinstance(value, Mapping) and len(value) == 1 and "grid_search" in value
    )


def grid_values(value: Any, path: Path) -> list[Any]:
    """The values of a grid."""
    if isinstance(value, Categorical):
        return value.categories
    found = value["grid_search"]
    if isinstance(found, (str, bytes)) or not isinstance(found, Iterable):
        raise TuneError(
            f"grid_search of the parameter {'/'.join(map(str, path))!r} needs a list of values, not {found!r}"
        )
    return list(found)


def has_unresolved(space: Any) -> bool:
    """Whether anything in a space has still to be decided."""
    return next(walk(space), None) is not None


def has_grid(space: Any) -> bool:
    """Whether there is a grid in it."""
    return any(is_grid(value) for _, value in walk(space))


def count_variants(space: Any, num_samples: int, points: int = 0) -> float:
    """How many configurations there will be; infinite for ``num_samples=-1``."""
    combinations = 1
    for path, value in walk(space):
        if is_grid(value):
            combinations *= max(1, len(grid_values(value, path)))
    if num_samples < 0:
        return math.inf
    return combinations * num_samples + points * 0


def assign(config: Any, path: Path, value: Any) -> Any:
    """Set the value at a path, in place; the new root (another one for an empty path)."""
    if not path:
        return value
    place = config
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return config


def mutable(space: Any) -> Any:
    """A copy whose containers can be changed; what is in them is shared."""
    if isinstance(space, Mapping) and not isinstance(space, Domain):
        return {key: mutable(value) for key, value in space.items()}
    if isinstance(space, (list, tuple)):
        return [mutable(value) for value in space]
    return space


def variants(
    space: Mapping[str, Any], random_state: Any = None, constant_grid: bool = False
) -> Iterator[tuple[dict[str, Any], dict[Path, Any]]]:
    """All configurations of a space, once through its grids: pairs of configuration and what was decided."""
    unresolved = dict(walk(space))
    if not unresolved:
        yield copy.deepcopy(mutable(space)), {}
        return
    grids = {path: grid_values(value, path) for path, value in unresolved.items() if is_grid(value)}
    domains = {path: value for path, value in unresolved.items() if path not in grids}
    drawn: dict[Path, Any] | None = None
    # The first grid turns fastest.
    paths = list(grids)
    for reversed_values in itertools.product(*(grids[path] for path in reversed(paths))):
        chosen = dict(zip(paths, reversed(reversed_values), strict=True))
        config = mutable(space)
        for path, value in chosen.items():
            config = assign(config, path, value)
        if constant_grid and drawn is not None:
            decided = dict(drawn)
            for path, value in decided.items():
                config = assign(config, path, value)
        else:
            config, decided = resolve(config, domains, random_state)
            drawn = {path: value for path, value in decided.items() if not domains[path].is_function()}
        if constant_grid:
            functions = {path: domain for path, domain in domains.items() if domain.is_function()}
            config, late = resolve(config, functions, random_state)
            decided.update(late)
        decided = {**chosen, **decided}
        # A value that was chosen may be a space itself.
        if has_unresolved(config):
            for inner, more in variants(config, random_state, constant_grid):
                yield inner, {**decided, **more}
        else:
            yield config, decided


def resolve(config: Any, domains: Mapping[Path, Domain], random_state: Any) -> tuple[Any, dict[Path, Any]]:
    """Draw from all domains; functions come after what they need."""
    decided: dict[Path, Any] = {}
    functions: dict[Path, Domain] = {}
    for path, domain in domains.items():
        if domain.is_function():
            functions[path] = domain
        else:
            decided[path] = value = domain.sample(None, random_state=random_state)
            config = assign(config, path, value)
    while functions:
        problem: Exception | None = None
        done: list[Path] = []
        for path, domain in functions.items():
            view = _viewed(config, frozenset(p for p in functions if p not in done))
            try:
                value = domain.sample(view, random_state=random_state)
            except (KeyError, AttributeError) as error:
                problem = error
                continue
            decided[path] = value
            config = assign(config, path, value)
            done.append(path)
        if not done:
            names = ["/".join(map(str, path)) for path in functions]
            raise RecursiveDependencyError(
                f"the parameters {names} are made by functions that need parameters which are not there "
                f"({type(problem).__name__}: {problem}), or need each other"
            ) from problem
        for path in done:
            del functions[path]
    return config, decided


def flatten_resolved(decided: Mapping[Path, Any]) -> dict[str, Any]:
    """What was decided, by joined path (``"layers/0/width"``)."""
    return {"/".join(map(str, path)): value for path, value in decided.items()}


def format_vars(decided: Mapping[Path, Any]) -> str:
    """What was decided, for the names of trials: ``lr=0.0100,width=64``."""
    parts = []
    for path, value in sorted(decided.items(), key=lambda item: str(item[0])):
        names = [part for part in path if not isinstance(part, int)] or [path[-1]] if path else ["value"]
        parts.append(f"{_clean(str(names[-1]))}={_clean(format_value(value))}")
    return ",".join(parts)


def format_value(value: Any) -> str:
    """A value as the names of trials show it."""
    if isinstance(value, float):
        return f"{value:.4f}"
    if callable(value) and hasattr(value, "__name__"):
        return value.__name__
    return str(value)[:60]


def _clean(text: str) -> str:
    return "".join(ch if ch.isalnum() or ch in "._-" else "_" for ch in text).strip("_") or "_"
