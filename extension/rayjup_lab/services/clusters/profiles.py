"""Profiles: where and how a cluster is started, under a name that the form offers.

A profile holds options of a cluster on this machine; or ``address``, of a cluster of somebody else that is
joined as it is; or what a cluster file holds (``provider`` and so on, or ``cluster_file``, the path of one):
the first node is on this machine then, and further ones are had from ssh, Slurm, Kubernetes, ….
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rayjup.cluster import joining, manager, network
from rayjup.cluster.cluster_file import KEYS
from rayjup.cluster.descriptors import Descriptor
from rayjup.cluster.operating import Operated
from rayjup_lab.services.clusters.options import StartOptions
from rayjup_lab.services.errors import BadRequest

_SIZES = {"num_cpus", "num_gpus", "object_store_memory", "resources", "linger_s"}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Profile:
    """A profile that can be used.

    Parameters
    ----------
    sizes
        Of the first node; what the user says goes before it.
    address
        Of a cluster that is joined; None: one is started.
    operated
        What a cluster file says; None: there is only this machine.
    """

    name: str
    sizes: StartOptions = field(default_factory=StartOptions)
    address: str | None = None
    operated: Operated | None = None

    @classmethod
    def of(cls, name: str, data: Mapping[str, Any]) -> Profile:
        """The profile that the configuration holds under a name.

        Raises
        ------
        BadRequest
            Naming the profile and what is wrong with it.
        """
        try:
            return cls._of(name, dict(data))
        except BadRequest as error:
            raise BadRequest(f"The profile {name!r} is wrong: {error.message}", field="profile") from error
        except (ValueError, ImportError, OSError) as error:
            raise BadRequest(f"The profile {name!r} is wrong: {error}", field="profile") from error

    @classmethod
    def _of(cls, name: str, data: dict[str, Any]) -> Profile:
        address = data.pop("address", None)
        if address is not None:
            if data:
                raise BadRequest(
                    f"address joins a cluster as it is, so {', '.join(sorted(data))} means nothing beside it."
                )
            return cls(name, address=str(address))
        sizes = StartOptions.from_json({key: data.pop(key) for key in sorted(data.keys() & _SIZES)})
        path = data.pop("cluster_file", None)
        unknown = sorted(data.keys() - KEYS)
        if unknown:
            raise BadRequest(
                f"it sets {', '.join(unknown)}; a profile has {', '.join(sorted(_SIZES))}, or address, or "
                "cluster_file, or what a cluster file has, such as provider."
            )
        if path is None and not data:
            return cls(name, sizes)
        if path is not None and data:
            raise BadRequest(f"cluster_file says all of it, so drop {', '.join(sorted(data))}.")
        operated = Operated.read(str(path)) if path is not None else Operated.of(data)
        if operated.machine is not None:
            raise BadRequest(
                f"its head would run on {operated.head_ip}, but JupyterLab starts heads on its own machine: "
                "drop head_ip, or run 'rayjup up' and have a profile with its address."
            )
        return cls(name, sizes, operated=operated)

    @property
    def kind(self) -> str:
        """Where its nodes are: ``here``, ``joined``, or the type of the provider."""
        if self.address is not None:
            return "joined"
        return str(self.operated.file.provider["type"]) if self.operated is not None else "here"

    @property
    def summary(self) -> str:
        """What it is, in a few words; never a secret."""
        if self.address is not None:
            return f"joins {self.address}"
        words = [
            f"{value:g} {unit}"
            for unit, value in (("CPU", self.sizes.num_cpus), ("GPU", self.sizes.num_gpus))
            if value is not None
        ]
        if self.operated is not None:
            most = self.operated.file.scaling.max_workers
            kind = "ssh" if self.operated.file.launcher["launcher"] == "ssh" else self.kind
            words.append(f"{kind}, up to {most} node{'s' if most != 1 else ''} more")
        return ", ".join(words) or "on this machine"

    def checked(self, options: StartOptions) -> StartOptions:
        """The options of the user with those of the profile.

        Raises
        ------
        BadRequest
            The user says how large a cluster is to be that is joined as it is.
        """
        if self.address is not None and options.given:
            field_name = next(iter(options.given))
            raise BadRequest(
                f"The profile {self.name!r} joins the cluster at {self.address} as it is: "
                f"leave {field_name} empty.",
                field=field_name,
            )
        name = self.operated.text.get("cluster_name") if self.operated is not None else None
        given: dict[str, Any] = {"name": name, **self.sizes.given, **options.given}
        return StartOptions(**given, profile=options.profile)

    def start(self, **options: Any) -> Descriptor:
        """Start the cluster, or join it.

        Raises
        ------
        RaySystemError, ConnectionError
        """
        if self.address is not None:
            return joining.join(self.address, options["timeout_s"])
        if self.operated is None:
            return manager.start(**options)
        given = {key: value for key, value in options.items() if value is not None}
        return self.operated.start_here(
            lambda line: None, **{"name": None, "linger_s": None, **given, **self._place()}
        )

    def _place(self) -> dict[str, Any]:
        """Where it listens for nodes on other machines."""
        assert self.operated is not None
        if self.operated.file.launcher["launcher"] == "local":
            return {}
        ip = self.operated.file.provider.get("head_ip")
        return {"ip": str(ip) if ip and ip not in _LOOPBACK else network.own_ip()}
