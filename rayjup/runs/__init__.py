"""What Train, Tune, Serve and RLlib share.

============  =====================================================
`board`       what a run publishes about itself for watchers
============  =====================================================
"""
