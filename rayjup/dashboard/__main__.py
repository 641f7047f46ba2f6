"""Start the dashboard of a cluster that runs, and print where it listens."""

from __future__ import annotations

import argparse
import sys

import rayjup
from rayjup.cluster import descriptors
from rayjup.dashboard.actor import NAMESPACE, Dashboard, options
from rayjup.exceptions import RayError
from rayjup.job_config import JobConfig


def main() -> int:
    """Make the actor, wait until it listens, and leave it there."""
    parser = argparse.ArgumentParser(prog="python -m rayjup.dashboard", description=__doc__)
    parser.add_argument("--cluster", help="name or id; the only one that runs by default")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int)
    given = parser.parse_args()
    try:
        cluster = descriptors.which(given.cluster)
        part = JobConfig(metadata={"rayjup_part": "dashboard"})  # no job of the user's
        rayjup.init(cluster.cluster_id, namespace=NAMESPACE, log_to_driver=False, job_config=part)
        actor = (
            rayjup.remote(Dashboard)
            .options(**options(), get_if_exists=True)
            .remote(cluster.cluster_id, given.host, given.port)
        )
        url = rayjup.get(actor.url.remote(), timeout=30)
    except (RayError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        rayjup.shutdown()
    sys.stdout.write(f"{url}\n")
    return 0


raise SystemExit(main())
