"""What programs say to the autoscaler, as ``ray.autoscaler.sdk``."""

from __future__ import annotations

import json
from typing import Any

from rayjup.base import checks
from rayjup.core import session as sessions

__all__ = ["request_resources"]

_SPACE, _KEY = "autoscaler", b"requested"


def request_resources(
    num_cpus: int | None = None,
    bundles: list[dict[str, float]] | None = None,
    bundle_label_selectors: list[dict[str, str]] | None = None,
) -> None:
    """Have the cluster be able to hold this, whatever runs there: nodes are started now and kept.

    Each call replaces the one before; one that asks for nothing withdraws it.

    Parameters
    ----------
    num_cpus
        So many CPUs, on any nodes.
    bundles
        Resources that have to fit together on one node each.
    bundle_label_selectors
        For each bundle the labels its node has to have.

    Raises
    ------
    TypeError, ValueError
        Something is no amount, or there is not one selector per bundle.

    Examples
    --------
    >>> import rayjup as ray
    >>> from rayjup.autoscaler.sdk import request_resources
    >>> context = ray.init(num_cpus=1, ignore_reinit_error=True)
    >>> request_resources(bundles=[{"CPU": 1}, {"CPU": 1}])
    >>> request_resources(num_cpus=0)  # not any more
    """
    rows: list[dict[str, Any]] = []
    if num_cpus is not None:
        if isinstance(num_cpus, bool) or not isinstance(num_cpus, (int, float)):
            raise TypeError(f"request_resources(num_cpus=…) must be a number, not {type(num_cpus).__name__}.")
        if num_cpus < 0:
            raise ValueError(f"request_resources(num_cpus={num_cpus}): there is no such number of CPUs.")
        if num_cpus:
            rows.append({"resources": {"CPU": 1.0}, "count": int(num_cpus), "labels": []})
    if bundle_label_selectors is not None and len(bundle_label_selectors) != len(bundles or ()):
        raise ValueError(
            f"request_resources: {len(bundle_label_selectors)} bundle_label_selectors were given for "
            f"{len(bundles or ())} bundles; give one for each bundle."
        )
    for number, bundle in enumerate(bundles or ()):
        if not isinstance(bundle, dict):
            raise TypeError(f"request_resources(bundles=…): bundle {number} is no dict of resources.")
        for name, amount in bundle.items():
            if isinstance(amount, bool) or not isinstance(amount, (int, float)):
                raise TypeError(f"request_resources: {amount!r} of {name} in bundle {number} is no number.")
            if amount < 0:
                raise ValueError(
                    f"request_resources: {amount} of {name} in bundle {number} is less than none."
                )
        selector = bundle_label_selectors[number] if bundle_label_selectors is not None else {}
        labels = checks.label_selector("bundle_label_selectors", selector) if selector else {}
        if bundle:
            row = {"resources": bundle, "count": 1, "labels": sorted(map(list, labels.items()))}
            rows.append(row)
    link = sessions.require().runtime.link
    link.request("kv_put", _SPACE, _KEY, json.dumps(rows).encode(), True)
