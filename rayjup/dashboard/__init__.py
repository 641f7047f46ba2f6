"""The dashboard of a cluster: Ray's REST API and pages to look at, on 127.0.0.1:8265, behind a token.

=============  ===================================================================
`auth`         the token, and who may ask at all
`jobs`         ``/api/jobs/…``, ``/api/packages/…``
`state`        ``/api/v0/…``, ``/api/topics/…``, ``/nodes``, ``/metrics``, health
`pages`        what people look at (``/pages/…``), built with Panel
`actor`        the actor in which the server runs
=============  ===================================================================

``python -m rayjup.dashboard --cluster NAME`` starts it for a cluster that runs; it ends with the cluster.
"""
