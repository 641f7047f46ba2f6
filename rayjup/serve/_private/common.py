"""Names and small types that all parts of serving share."""

from __future__ import annotations

import enum
import random
import string
from dataclasses import dataclass

CONTROLLER = "SERVE_CONTROLLER_ACTOR"
PROXY = "SERVE_PROXY_ACTOR"
NAMESPACE = "serve"
DEFAULT_APP = "default"

_ALPHABET = string.ascii_lowercase + string.digits


def random_id(length: int = 8) -> str:
    """A short id of lower-case letters and digits."""
    return "".join(random.choices(_ALPHABET, k=length))


@dataclass(frozen=True)
class DeploymentID:
    """A deployment of an application."""

    name: str
    app_name: str = DEFAULT_APP

    def to_replica_actor_class_name(self) -> str:
        """The name under which its replicas appear in lists of actors."""
        return f"ServeReplica:{self.app_name}:{self.name}"

    def __str__(self) -> str:
        return f"Deployment(name='{self.name}', app='{self.app_name}')"


@dataclass(frozen=True)
class ReplicaID:
    """A replica of a deployment."""

    unique_id: str
    deployment_id: DeploymentID

    _PREFIX = "SERVE_REPLICA::"

    def to_full_id_str(self) -> str:
        """The name of the replica's actor."""
        id = self.deployment_id
        return f"{self._PREFIX}{id.app_name}#{id.name}#{self.unique_id}"

    @staticmethod
    def is_full_id_str(s: str) -> bool:
        """Whether ``s`` is such a name."""
        return s.startswith(ReplicaID._PREFIX) and s.count("#") >= 2

    @classmethod
    def from_full_id_str(cls, s: str) -> ReplicaID:
        """The replica of which ``s`` is the actor's name.

        Raises
        ------
        ValueError
            It is no such name.
        """
        if not cls.is_full_id_str(s):
            raise ValueError(
                f"{s!r} is not the name of a replica's actor: these are '{cls._PREFIX}app#deployment#id'."
            )
        app, name, unique = s[len(cls._PREFIX) :].split("#")
        return cls(unique, DeploymentID(name, app))

    def __str__(self) -> str:
        id = self.deployment_id
        return f"Replica(id='{self.unique_id}', deployment='{id.name}', app='{id.app_name}')"

    def __repr__(self) -> str:
        return str(self)


class DeploymentStatus(str, enum.Enum):
    """What a deployment is doing."""

    UPDATING = "UPDATING"
    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    DEPLOY_FAILED = "DEPLOY_FAILED"
    UPSCALING = "UPSCALING"
    DOWNSCALING = "DOWNSCALING"


class DeploymentStatusTrigger(str, enum.Enum):
    """Why it does that."""

    UNSPECIFIED = "UNSPECIFIED"
    CONFIG_UPDATE_STARTED = "CONFIG_UPDATE_STARTED"
    CONFIG_UPDATE_COMPLETED = "CONFIG_UPDATE_COMPLETED"
    UPSCALE_COMPLETED = "UPSCALE_COMPLETED"
    DOWNSCALE_COMPLETED = "DOWNSCALE_COMPLETED"
    AUTOSCALING = "AUTOSCALING"
    REPLICA_STARTUP_FAILED = "REPLICA_STARTUP_FAILED"
    DEPLOYMENT_ACTOR_FAILED = "DEPLOYMENT_ACTOR_FAILED"
    HEALTH_CHECK_FAILED = "HEALTH_CHECK_FAILED"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    DELETING = "DELETING"


class ReplicaState(str, enum.Enum):
    """Where in its life a replica is."""

    STARTING = "STARTING"
    UPDATING = "UPDATING"
    RECOVERING = "RECOVERING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    PENDING_MIGRATION = "PENDING_MIGRATION"


class RequestProtocol(str, enum.Enum):
    """How a request came in."""

    UNDEFINED = "UNDEFINED"
    HTTP = "HTTP"
    GRPC = "gRPC"


class Unset(enum.Enum):
    """The value of an option that was not given."""

    VALUE = 1

    def __repr__(self) -> str:
        return "<not given>"


UNSET = Unset.VALUE
