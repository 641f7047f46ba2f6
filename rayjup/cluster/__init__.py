"""Clusters as processes: starting, finding and stopping them.

``descriptors`` lists the running clusters of this user, ``manager`` starts and stops one,
``launchers`` (one file per back-end) bring up nodes.
"""
