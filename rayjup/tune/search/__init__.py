"""Who makes configurations (mirrors ``ray.tune.search``).

`searcher` has the contract, `variants` and `sample` the search space, `generator` turns suggestions into
trials. One file per library: `optuna`, `hyperopt`, `bayesopt`, `bohb`, `ax`, `hebo`, `nevergrad`, `zoopt`,
imported when used.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from rayjup.tune.search.basic_variant import BasicVariantGenerator
from rayjup.tune.search.generator import SearchAlgorithm, SearchGenerator
from rayjup.tune.search.repeater import Repeater
from rayjup.tune.search.searcher import (
    UNDEFINED_METRIC_MODE,
    UNDEFINED_SEARCH_SPACE,
    UNRESOLVED_SEARCH_SPACE,
    ConcurrencyLimiter,
    Searcher,
)
from rayjup.tune.search.variants import grid_search

__all__ = [
    "UNDEFINED_METRIC_MODE",
    "UNDEFINED_SEARCH_SPACE",
    "UNRESOLVED_SEARCH_SPACE",
    "BasicVariantGenerator",
    "ConcurrencyLimiter",
    "Repeater",
    "SearchAlgorithm",
    "SearchGenerator",
    "Searcher",
    "create_searcher",
    "grid_search",
]

SEARCH_ALG_IMPORT = {
    "variant_generator": ("basic_variant", "BasicVariantGenerator"),
    "random": ("basic_variant", "BasicVariantGenerator"),
    "ax": ("ax", "AxSearch"),
    "bayesopt": ("bayesopt", "BayesOptSearch"),
    "bohb": ("bohb", "TuneBOHB"),
    "hebo": ("hebo", "HEBOSearch"),
    "hyperopt": ("hyperopt", "HyperOptSearch"),
    "nevergrad": ("nevergrad", "NevergradSearch"),
    "optuna": ("optuna", "OptunaSearch"),
    "zoopt": ("zoopt", "ZOOptSearch"),
}


def create_searcher(search_alg: str, **kwargs: Any) -> Any:
    """A search algorithm by its name; arguments that it does not take are left out.

    Examples
    --------
    >>> from rayjup import tune
    >>> type(tune.create_searcher("random")).__name__
    'BasicVariantGenerator'
    """
    name = search_alg.lower()
    if name not in SEARCH_ALG_IMPORT:
        raise ValueError(
            f"there is no search algorithm {search_alg!r}; there are {sorted(SEARCH_ALG_IMPORT)}"
        )
    module, attribute = SEARCH_ALG_IMPORT[name]
    cls = getattr(importlib.import_module(f"rayjup.tune.search.{module}"), attribute)
    parameters = inspect.signature(cls).parameters
    return cls(**{key: value for key, value in kwargs.items() if key in parameters})
