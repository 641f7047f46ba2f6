"""The lane: direct connections between drivers and executors.

``frames`` is the wire format, ``messages`` the vocabulary, ``peer`` one connection,
``reactor`` the loop that whoever waits drives itself.
"""
