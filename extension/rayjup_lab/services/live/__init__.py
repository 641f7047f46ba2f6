"""Live state over one websocket: ``hub`` polls and fans out, ``subscriber`` is one browser tab,
``shorten`` caps what is sent, ``handlers`` is the websocket endpoint."""
