"""The Jupyter Server extension application: configuration and routes."""

from __future__ import annotations

from jupyter_server.extension.application import ExtensionApp
from traitlets import Dict, Float, Integer, List, Unicode, validate
from traitlets.traitlets import TraitError

from rayjup_lab import __version__
from rayjup_lab.services.clusters.handlers import clusters_handlers
from rayjup_lab.services.clusters.manager import ClustersManager
from rayjup_lab.services.contents.handlers import contents_handlers
from rayjup_lab.services.contents.manager import ContentsManager
from rayjup_lab.services.live.handlers import live_handlers
from rayjup_lab.services.live.hub import LiveHub
from rayjup_lab.services.openapi import describe, description_handlers
from rayjup_lab.services.proxy.handlers import proxy_handlers

_ROUTES = [*description_handlers, *clusters_handlers, *contents_handlers, *proxy_handlers, *live_handlers]


class RayjupExtension(ExtensionApp):
    """Lists, starts, stops and watches rayjup clusters for the JupyterLab side panel.

    The server holds no cluster itself: a cluster is a detached process, found by its descriptor
    file, so it survives a restart of the server.
    """

    name = "rayjup_lab"
    description = "rayjup clusters: start, watch and stop them from JupyterLab"
    extension_url = "/lab"

    default_num_cpus = Float(
        None,
        allow_none=True,
        help="CPUs of a cluster started without saying how many (None: all CPUs of the machine).",
    ).tag(config=True)
    max_clusters = Integer(
        8, min=1, help="How many clusters of this user may run before the panel refuses to start one more."
    ).tag(config=True)
    linger_s = Float(
        12 * 3600.0,
        allow_none=True,
        help="Seconds a cluster started here lives on after its last driver has gone (None: until stopped).",
    ).tag(config=True)
    start_timeout_s = Float(30.0, min=1.0, help="Seconds a cluster may take to become usable.").tag(
        config=True
    )
    live_interval_s = Float(
        1.0, min=0.25, help="Seconds between two updates of the live view (all browser tabs share one poll)."
    ).tag(config=True)

    profiles = Dict(
        value_trait=Dict(),
        key_trait=Unicode(),
        help=(
            "Where and how clusters are started, by the name that the form offers: options of a cluster on "
            "this machine (num_cpus, num_gpus, ...), or address (of a Dask cluster that is joined), or what "
            "a cluster file of 'rayjup up' holds (provider, auth, available_node_types, ...), or "
            "cluster_file (its path). The user's rayjup.json may hold further ones; those named here win."
        ),
    ).tag(config=True)

    may_start = Dict(
        value_trait=List(Unicode()),
        key_trait=Unicode(),
        help=(
            "Which users may start a cluster with a profile: their names by its name; everybody may "
            "where a profile is not named. '' stands for clusters that are not of one of the 'profiles' "
            "above: those without a profile, and those of the user's rayjup.json."
        ),
    ).tag(config=True)

    @validate("default_num_cpus", "linger_s")
    def _not_negative(self, proposal: dict[str, object]) -> object:
        value = proposal["value"]
        if isinstance(value, float) and value < 0:
            name = getattr(proposal["trait"], "name", "value")
            raise TraitError(f"RayjupExtension.{name} is {value}, but must be 0 or more, or None.")
        return value

    def initialize_settings(self) -> None:
        self.clusters = ClustersManager(
            max_clusters=self.max_clusters,
            default_num_cpus=self.default_num_cpus,
            linger_s=self.linger_s,
            start_timeout_s=self.start_timeout_s,
            profiles=self.profiles,
            may_start=self.may_start,
            log=self.log,
        )
        self.live = LiveHub(self.clusters, interval_s=self.live_interval_s, log=self.log)
        self.clusters.on_change = self.live.wake
        self.settings["rayjup_clusters"] = self.clusters
        self.settings["rayjup_live"] = self.live
        self.settings["rayjup_contents"] = ContentsManager(self.clusters)
        routes = [(pattern.replace("\\.", "."), handler) for pattern, handler in _ROUTES]
        self.settings["rayjup_description"] = describe(routes, __version__)

    def initialize_handlers(self) -> None:
        self.handlers.extend(_ROUTES)

    async def stop_extension(self) -> None:
        """Release sockets and threads; running clusters stay."""
        await self.live.close()
        self.clusters.close()
