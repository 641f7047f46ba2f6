"""The core API as users see it.

``api`` connects, gets, puts and waits; ``remote_function`` and ``actor`` are what ``@remote``
makes; ``captured`` packs functions and classes with what they refer to; ``arguments`` checks calls;
``environments`` resolves runtime environments, whose directories ``packing`` packs; ``cells`` knows
the notebook cell of a call, ``driver_logs`` shows what calls print; ``placement`` turns options
into the shape of a lease; ``session`` is the connection of this process and ``context`` what
``init`` returns for it; ``runtime_context`` tells a task where it runs.
"""
