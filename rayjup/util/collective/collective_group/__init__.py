"""The backends: what a group is (``base_collective_group``), over sockets, through PyTorch."""
