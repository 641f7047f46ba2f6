"""The core API as users see it.

``api`` connects, gets, puts and waits; ``remote_function`` and ``actor`` are what ``@remote`` makes;
``session`` is the connection of this process; ``runtime_context`` tells a task where it runs;
``placement`` turns options into the shape of a lease.
"""
