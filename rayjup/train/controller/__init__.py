"""Leading a run.

============  ==================================================================
`machine`     what happens next: a pure state machine
`events`      what it is told and what it says
`leader`      does what the machine says: starts groups, asks workers, takes in reports
`group`       the workers: a placement group with one actor per rank
`fitting`     whether the workers fit into the cluster, and what is missing
`ledger`      the run's directory: results, checkpoints that are kept, its state
`validation`  validation runs beside training
`local`       ``num_workers=0``: the same in this process, without a cluster
============  ==================================================================
"""
