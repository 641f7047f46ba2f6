"""Algorithms by name: how Tune and older programs say them."""

from __future__ import annotations

from typing import Any

ALGORITHMS = ("APPO", "BC", "CQL", "DQN", "DreamerV3", "IMPALA", "IQL", "MARWIL", "PPO", "SAC", "TQC")


def get_algorithm_class(alg: str, return_config: bool = False) -> Any:
    """An algorithm's class, and its config with ``return_config``.

    Examples
    --------
    >>> from rayjup.rllib.algorithms.registry import get_algorithm_class
    >>> get_algorithm_class("PPO").__name__
    'PPO'
    """
    import rayjup.rllib.algorithms as algorithms

    name = next((known for known in ALGORITHMS if known.lower() == alg.lower()), None)
    if name is None:
        raise ValueError(f"no algorithm {alg!r}: there are {', '.join(ALGORITHMS)}.")
    found = getattr(algorithms, name)
    return (found, getattr(algorithms, f"{name}Config")()) if return_config else found


def get_trainer_class(alg: str, return_config: bool = False) -> Any:
    """`get_algorithm_class` under its older name."""
    return get_algorithm_class(alg, return_config)


def provide(name: str) -> None:
    """Load the algorithm of that name, if there is one; it then makes itself known to Tune."""
    if name in ALGORITHMS:
        get_algorithm_class(name)
