"""Why an object could not be brought to a node."""

LOST = "lost"
"""No node has it any more."""
UNREACHABLE = "unreachable"
"""Nodes have it, but nothing comes from them."""
FULL = "full"
"""There is no room for it."""
