"""What all functions that read have in common: how read tasks are run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rayjup.data.dataset import Dataset
    from rayjup.data.datasource.datasource import Datasource

# Keywords of every `read_*`: how many tasks, and what each of them needs.
OPTIONS = frozenset(
    {
        "parallelism",
        "override_num_blocks",
        "concurrency",
        "num_cpus",
        "num_gpus",
        "memory",
        "label_selector",
        "fallback_strategy",
        "max_calls",
        "resources",
        "accelerator_type",
        "runtime_env",
        "ray_remote_args",
    }
)


def split_options(arguments: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of read tasks, and all other arguments."""
    options = {key: value for key, value in arguments.items() if key in OPTIONS}
    return options, {key: value for key, value in arguments.items() if key not in OPTIONS}


def read(source: Datasource, options: dict[str, Any], function: str) -> Dataset:
    """A dataset that reads a source; TypeError for options that do not exist."""
    unknown = sorted(set(options) - OPTIONS)
    if unknown:
        raise TypeError(
            f"{function}() has no argument {unknown[0]!r}. "
            f"Besides its own it takes {', '.join(sorted(OPTIONS))}."
        )
    from rayjup.data._read_datasource import read_datasource

    given = {key: value for key, value in options.items() if value is not None}
    return read_datasource(source, **given)
