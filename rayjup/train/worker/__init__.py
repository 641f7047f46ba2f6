"""What runs in the processes of the workers: the actor, the session of the training function, uploads."""
