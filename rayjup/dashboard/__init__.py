"""The dashboard of a cluster: Ray's REST API, on 127.0.0.1:8265, behind a token.

=============  ===================================================================
`server`       the web application: routes, and how errors become answers
`auth`         the token, and who may ask at all
`jobs`         ``/api/jobs/…``, ``/api/packages/…``
`state`        ``/api/v0/…``, ``/nodes``, ``/api/cluster_status``
`metrics`      ``/metrics`` and health
`actor`        the actor in which the server runs
=============  ===================================================================

``python -m rayjup.dashboard --cluster NAME`` starts it for a cluster that runs; it ends with the cluster.
"""
