"""The ground everything else stands on: no I/O, no threads, no third-party imports at import time.

``notebook``    what a notebook tells the parts below it
``ids``         identifiers of jobs, tasks, actors, objects, nodes, placement groups
``exceptions``  the whole error tree (public as ``rayjup.exceptions``)
``task_error``  ``RayTaskError``: a user's exception carried from one process to another
``options``     validated options of tasks, actors and actor methods
``checks``      the small value checks ``options`` is written with
"""
