"""Jobs: programs that run on the cluster, submitted to it and watched from elsewhere.

=============  =================================================================
`models`       what is known of a job, as Ray's SDK and REST API show it
`table`        the jobs of a cluster, kept by its head
`supervisor`   the actor that runs one job's program, on a node of the cluster
`manager`      submits, stops, deletes; notices supervisors that are gone
`packages`     what a client uploads: archives named after their content
`client`       `JobSubmissionClient`: all of it over HTTP
=============  =================================================================

The REST server itself is `rayjup.dashboard`. A job's program is a driver of its own: it finds the
cluster by RAY_ADDRESS, and goes on when the client, the server or the head dies.
"""
