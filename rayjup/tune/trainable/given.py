"""What a trainable is given beside its config: large objects, and resources."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import rayjup
from rayjup.runs.errors import TuneError
from rayjup.runs.function_trainable import FunctionTrainable
from rayjup.runs.placement import PlacementGroupFactory, resource_dict_to_pg_factory
from rayjup.runs.trainable import Trainable
from rayjup.runs.trainers import TunableTrainer


def with_parameters(trainable: type[Trainable] | Callable[..., Any], **kwargs: Any) -> Any:
    """Give a trainable objects that all trials share, such as data; they are stored in the cluster once.

    A function gets them as keyword arguments, a class as keyword arguments of ``setup``.

    Examples
    --------
    >>> import rayjup, tempfile
    >>> from rayjup import tune
    >>> _ = rayjup.init(num_cpus=1)
    >>> def train(config, data):
    ...     return {"sum": sum(data) * config["x"]}
    >>> run_config = tune.RunConfig(storage_path=tempfile.mkdtemp(), verbose=0)
    >>> tuner = tune.Tuner(
    ...     tune.with_parameters(train, data=[1, 2, 3]), param_space={"x": 2}, run_config=run_config
    ... )
    >>> tuner.fit()[0].metrics["sum"]
    12
    >>> rayjup.shutdown()
    """
    if not callable(trainable):
        raise ValueError(f"with_parameters() needs a function or a Trainable class, not {trainable!r}")
    if not rayjup.is_initialized():
        rayjup.init()
    stored = {name: rayjup.put(value) for name, value in kwargs.items()}
    if isinstance(trainable, type):
        if not issubclass(trainable, Trainable):
            raise ValueError(f"the class {trainable.__name__} is no tune.Trainable")
        return _class_with(trainable, stored)
    signature = inspect.signature(trainable)
    takes_all = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    for name in kwargs:
        if not takes_all and name not in signature.parameters:
            raise TuneError(
                f"with_parameters(): the function {getattr(trainable, '__name__', trainable)!r} has no "
                f"argument {name!r}; "
                f"it takes {list(signature.parameters)}"
            )
    function = trainable

    @functools.wraps(function)
    def inner(config: dict[str, Any]) -> Any:
        return function(config, **_fetched(stored))

    del inner.__wrapped__  # its signature is that of `inner`
    return inner


def _fetched(stored: dict[str, Any]) -> dict[str, Any]:
    names = list(stored)
    return dict(zip(names, rayjup.get([stored[name] for name in names]), strict=True))


def _class_with(trainable: type[Trainable], stored: dict[str, Any]) -> type[Trainable]:
    class Inner(trainable):  # type: ignore[misc, valid-type]
        def setup(self, config: dict[str, Any]) -> None:
            super().setup(config, **_fetched(stored))

    Inner.__name__ = Inner.__qualname__ = trainable.__name__
    Inner.__doc__ = trainable.__doc__
    return Inner


def with_resources(
    trainable: Any, resources: dict[str, float] | PlacementGroupFactory | Callable[..., Any] | Any
) -> Any:
    """Say what each trial of a trainable asks for.

    Parameters
    ----------
    trainable
        A function, a `Trainable` class or a trainer.
    resources
        ``{"cpu": 2, "gpu": 1}``, bundles (`PlacementGroupFactory`), a `ScalingConfig`, or a function of the
        trial's config that gives one of these.

    Examples
    --------
    >>> from rayjup import tune
    >>> train = tune.with_resources(lambda config: {"y": 1}, {"cpu": 2})
    >>> train._resources.required_resources
    {'CPU': 2.0}
    """
    if isinstance(resources, PlacementGroupFactory):
        wanted: Any = resources
    elif isinstance(resources, dict):
        wanted = resource_dict_to_pg_factory(resources)
    elif hasattr(resources, "as_placement_group_factory"):
        wanted = resources.as_placement_group_factory()
    elif callable(resources):
        wanted = _as_factory(resources)
    else:
        raise ValueError(
            "with_resources() needs a dictionary, a PlacementGroupFactory or a function of the config, "
            f"not {resources!r}"
        )
    if isinstance(trainable, type):
        if not issubclass(trainable, Trainable):
            raise ValueError(f"the class {trainable.__name__} is no tune.Trainable")
        return _class_asking(trainable, wanted)
    if isinstance(trainable, TunableTrainer):
        trainable.trial_resources = wanted if callable(resources) else lambda config: wanted  # type: ignore[attr-defined]
        return trainable
    if not callable(trainable):
        raise ValueError(f"with_resources() needs a trainable, not {trainable!r}")
    return _Asking(trainable, wanted)


class _Asking:
    """A function and what its trials ask for; a wrapper, so that the function itself stays as it is."""

    def __init__(self, function: Callable[..., Any], resources: Any) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._resources = resources

    def __call__(self, config: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        return self._function(config, *args, **kwargs)


def _as_factory(
    function: Callable[[dict[str, Any]], Any],
) -> Callable[[dict[str, Any]], PlacementGroupFactory]:
    def ask(config: dict[str, Any]) -> PlacementGroupFactory:
        found = function(config)
        return resource_dict_to_pg_factory(found) if isinstance(found, dict) else found

    return ask


def _class_asking(trainable: type[Trainable], wanted: Any) -> type[Trainable]:
    if issubclass(trainable, FunctionTrainable):
        inner: Any = _Asking(trainable._function, wanted)
        return inner  # type: ignore[no-any-return]

    class Asking(trainable):  # type: ignore[misc, valid-type]
        @classmethod
        def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory | None:
            if callable(wanted) and not isinstance(wanted, PlacementGroupFactory):
                asked: PlacementGroupFactory = wanted(config)
                return asked
            return wanted  # type: ignore[no-any-return]

    Asking.__name__ = Asking.__qualname__ = trainable.__name__
    Asking.__doc__ = trainable.__doc__
    return Asking
