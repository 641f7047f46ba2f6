"""Large objects: one file in the node's shared-memory directory each.

``store`` writes, maps and frees them for one process; ``copying`` moves the bytes, ``mapping`` maps
a file without keeping a descriptor.
"""
