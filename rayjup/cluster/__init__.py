"""Clusters as processes: starting, finding and stopping them.

``descriptors`` lists the running clusters of this user, ``manager`` starts and stops one, ``dashboards``
finds and starts their REST servers, ``boot`` is
what runs then, ``supervisor`` has another head started when it ends, ``leftovers`` removes what killed
processes leave, ``launchers`` (one file per back-end) bring up nodes.
"""
