"""What the controller knows: applications, deployments, replicas; and what it has to be done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rayjup.serve._private.common import (
    DeploymentID,
    DeploymentStatus,
    DeploymentStatusTrigger,
    ReplicaState,
)


@dataclass
class Replica:
    """One replica, from the decision to start it until its process is gone."""

    id: str
    code: str  # the version of the deployment's code it runs
    revision: int  # of the settings that can change while it runs
    state: ReplicaState
    started: float
    rank: int
    ready: float | None = None
    info: dict[str, Any] = field(default_factory=dict)
    misses: int = 0  # health checks in a row that failed
    checked: float = 0.0
    checking: bool = False
    reconfiguring: bool = False
    no_room: bool = False  # the cluster has not got what it asks for
    constructing: bool = False  # its process is there, and has not said yet that it is up
    gang: str = ""
    gang_rank: int = 0

    @property
    def live(self) -> bool:
        """Whether it is meant to serve, now or soon."""
        return self.state is not ReplicaState.STOPPING

    @property
    def serving(self) -> bool:
        """Whether it may be given requests."""
        return self.state in (ReplicaState.RUNNING, ReplicaState.UPDATING)


@dataclass
class Deployment:
    """One deployment: what is wanted of it, and its replicas."""

    id: DeploymentID
    config: dict[str, Any]
    code: str
    revision: int = 0
    target: int = 1
    replicas: dict[str, Replica] = field(default_factory=dict)
    failures: int = 0  # replicas of this code that did not come up, in a row
    retry_at: float = 0.0
    give_up_at: float = 0.0  # the deployment fails unless a replica has come up by then
    status: DeploymentStatus = DeploymentStatus.UPDATING
    trigger: DeploymentStatusTrigger = DeploymentStatusTrigger.CONFIG_UPDATE_STARTED
    message: str = ""
    failed: bool = False
    served: bool = False  # was healthy with this code
    deleting: bool = False
    dead: list[dict[str, Any]] = field(default_factory=list)  # the last that ended

    def running(self) -> list[Replica]:
        """The replicas that may be given requests."""
        return [r for r in self.replicas.values() if r.serving]


@dataclass
class App:
    """One application."""

    name: str
    route_prefix: str | None
    ingress: str
    deployed_at: float
    details: dict[str, Any] = field(default_factory=dict)  # carried along: source, docs_path, config …
    deleting: bool = False
    status: str = "DEPLOYING"
    message: str = ""


# What the controller's surroundings are to do.


@dataclass(frozen=True)
class Start:
    """Start a replica."""

    deployment: DeploymentID
    replica: str


@dataclass(frozen=True)
class Stop:
    """Let a replica finish its requests, then end it; it gets no new ones."""

    deployment: DeploymentID
    replica: str
    wait_loop_s: float
    timeout_s: float


@dataclass(frozen=True)
class Kill:
    """End a replica at once."""

    deployment: DeploymentID
    replica: str


@dataclass(frozen=True)
class Reconfigure:
    """Give a running replica its new settings."""

    deployment: DeploymentID
    replica: str


@dataclass(frozen=True)
class Check:
    """Ask a replica whether it is well."""

    deployment: DeploymentID
    replica: str


@dataclass(frozen=True)
class Forget:
    """A deployment is gone with all its replicas: remove what belongs to it."""

    deployment: DeploymentID
    code: str


@dataclass(frozen=True)
class Publish:
    """Tell callers where replicas are: that has changed."""


@dataclass(frozen=True)
class Save:
    """Write the state to the journal."""


Action = Start | Stop | Kill | Reconfigure | Check | Forget | Publish | Save
