"""Objects on their way between nodes of different hosts.

``_state`` decides, as two pure machines: which chunks a node asks of whom, and whom a node serves.
``wire`` is what two nodes say to each other, ``serving`` the source's side, ``fetching`` the threads of
the receiver's, ``pulls`` what belongs to the node's agent: one pull per object however many wait.
"""
