"""What goes wrong when the state of a cluster is asked for (mirrors ``ray.util.state.exception``)."""


class RayStateApiException(Exception):
    """A request for the state of the cluster failed, or its answer is not complete."""


class DataSourceUnavailable(Exception):
    """A part of the cluster that knows what is asked for did not answer."""


class ServerUnavailable(RayStateApiException):
    """The cluster itself did not answer."""
