"""The few names of ``ray._private`` that programs use although they are not public."""
