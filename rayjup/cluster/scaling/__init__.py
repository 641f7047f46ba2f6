"""How many nodes of which type a cluster should have, and seeing to it.

``plan``        the decision, a pure function: what is there and what waits in, nodes to start and to end out
``settings``    types of nodes and limits
``controller``  the loop around it: asks the head, tells a launcher, says in words what is going on
``words``       the same for people
``process``     that loop as a process of its own, which ends with its cluster
``monitor``     starting and ending that process
"""
