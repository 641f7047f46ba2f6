"""How serving works inside.

``state``, ``scaling``
    Pure: what is to run, what runs, what to do about the difference; how many replicas are wanted.
``controller``
    The detached actor around them: starts, checks and stops replicas, keeps a journal.
``replica``, ``calling``, ``asgi``
    An actor that has the user's object and takes calls over the lane, and requests over HTTP.
``listener``, ``front``, ``sockets``
    HTTP: connections by uvicorn's protocol, which application a request is for, one listening
    socket shared by processes.
``proxy``
    Holds the listening socket, and answers where no replica listens itself.
``router``, ``table``
    The caller's side: which replica gets a call, queues, limits; where replicas are.
``channel``
    A request that is answered in another process: ASGI messages over the lane.
``client``, ``build``, ``options``
    The driver's side: graphs of ``bind`` into deployments, and options checked.
"""
