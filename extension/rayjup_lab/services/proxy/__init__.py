"""What a cluster serves on loopback, under Jupyter's own address (``upstream``, ``handlers``)."""
