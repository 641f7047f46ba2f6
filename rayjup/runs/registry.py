"""Names of trainables, environments and inputs, so that configurations can say them as strings.

A registry belongs to a process. Who starts processes that need it sends it along: `export` and `adopt`.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

TRAINABLE = "trainable_class"
ENVIRONMENT = "env_creator"
INPUT = "rllib_input"

_names: dict[tuple[str, str], Any] = {}


def register(kind: str, name: str, value: Any) -> None:
    """Remember ``value`` under ``name`` among those of its kind."""
    if not isinstance(name, str) or not name:
        raise TypeError(f"a name to register must be a string that is not empty, not {name!r}")
    _names[kind, name] = value


def find(kind: str, name: str) -> Any:
    """What was registered; KeyError if there is none."""
    try:
        return _names[kind, name]
    except KeyError:
        known = sorted(n for k, n in _names if k == kind)
        raise KeyError(f"{name!r} is not registered as {kind}; known are {known}") from None


# Who brings further names along: imported when a name is looked for that nobody knows.
_PROVIDERS = {TRAINABLE: "rayjup.rllib.algorithms.registry"}


def contains(kind: str, name: str) -> bool:
    """Whether the name is known."""
    if (kind, name) not in _names and kind in _PROVIDERS:
        importlib.import_module(_PROVIDERS[kind]).provide(name)
    return (kind, name) in _names


def export(*kinds: str) -> bytes:
    """All entries of the kinds, for another process."""
    import cloudpickle

    return cloudpickle.dumps({key: value for key, value in _names.items() if key[0] in kinds})


def adopt(data: bytes) -> None:
    """Take over what `export` gave."""
    import cloudpickle

    _names.update(cloudpickle.loads(data))


def register_trainable(name: str, trainable: Callable[..., Any] | type, warn: bool = True) -> None:
    """Give a trainable (function or class) a name for ``tune.run(name)`` and ``Tuner(name)``.

    Examples
    --------
    >>> from rayjup import tune
    >>> tune.register_trainable("square", lambda config: {"score": config["x"] ** 2})
    """
    from rayjup.runs.function_trainable import as_trainable_class

    if not callable(trainable):
        raise TypeError(f"register_trainable({name!r}): needs a function or a class, not {trainable!r}")
    as_trainable_class(trainable)  # raises for a class or a signature that can't be run
    if warn and isinstance(trainable, type) is False and contains(TRAINABLE, name):
        known = find(TRAINABLE, name)
        if known is not trainable and getattr(known, "__module__", None) != getattr(
            trainable, "__module__", None
        ):
            warnings.warn(f"the trainable {name!r} is registered again, as {trainable!r}", stacklevel=2)
    register(TRAINABLE, name, trainable)


def register_env(name: str, env_creator: Callable[[dict[str, Any]], Any]) -> None:
    """Give a maker of environments a name for RLlib.

    Examples
    --------
    >>> from rayjup import tune
    >>> tune.register_env("corridor", lambda config: object())
    """
    if not callable(env_creator):
        raise TypeError(f"register_env({name!r}): needs a function of the env's config, not {env_creator!r}")
    register(ENVIRONMENT, name, env_creator)


def register_input(name: str, input_creator: Callable[..., Any]) -> None:
    """Give a maker of input readers a name for RLlib's offline data."""
    if not callable(input_creator):
        raise TypeError(f"register_input({name!r}): needs a function, not {input_creator!r}")
    register(INPUT, name, input_creator)


def registry_contains_input(name: str) -> bool:
    """Whether there is an input of that name."""
    return contains(INPUT, name)


def registry_get_input(name: str) -> Callable[..., Any]:
    """The input's maker."""
    found: Callable[..., Any] = find(INPUT, name)
    return found


def get_trainable_cls(trainable_name: str) -> type:
    """The class of a registered trainable; a function comes as a class that runs it."""
    from rayjup.runs.function_trainable import as_trainable_class

    validate_trainable(trainable_name)
    return as_trainable_class(find(TRAINABLE, trainable_name))


def validate_trainable(trainable_name: str) -> None:
    """Raise a TuneError if nothing is registered under the name."""
    from rayjup.runs.errors import TuneError

    if not contains(TRAINABLE, trainable_name):
        known = sorted(n for k, n in _names if k == TRAINABLE)
        raise TuneError(
            f"no trainable is registered as {trainable_name!r}; known are {known}. "
            "Call tune.register_trainable(name, function_or_class) first."
        )


def is_function_trainable(trainable: str | Callable[..., Any] | type) -> bool:
    """Whether a trainable (or the one of that name) is a function."""
    if isinstance(trainable, str):
        validate_trainable(trainable)
        trainable = find(TRAINABLE, trainable)
    from rayjup.runs.function_trainable import FunctionTrainable

    return issubclass(trainable, FunctionTrainable) if isinstance(trainable, type) else callable(trainable)
