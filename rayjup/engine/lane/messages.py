"""Message kinds of the lane: what processes say to each other directly.

Each message is a tuple ``(KIND, …)``; the fields are listed beside the kind.
"""

HELLO = 0  # worker_id, prefix, address
CALL = 1  # seq, function_id, payload, n_returns, options | None
DEFINE = 2  # function_id, pickled function, name, calls after which the process ends (0: none)
REPLY = 3  # seq, status, value, microseconds, held refs | None (b"": the arguments' segment is not seen)
BOUNCE = 4  # [seq, …]: not started here; run them elsewhere
CANCEL = 5  # seq, recursive
FETCH = 6  # request, object_id, path ("", or of its segment, which is not there): tell me its value
VALUE = 7  # request, status, value
BORROW = 8  # [(object_id, change, borrower's address | ""), …]: changes of counts at the owner
BORROW_ACK = 9  # request
SYNC = 10  # request: answer BORROW_ACK when everything before this was handled
ITEM = 12  # seq, index, status, value: a generator has yielded
CONSUMED = 13  # seq, count: so many items of the generator have been taken
RETIRED = 14  # the sender runs no call any more: what it has not answered goes elsewhere
RECYCLE = 11  # path, reusable: the owner is done with a segment that the receiver wrote

# How a value is carried (status of REPLY, VALUE and of dependencies).
PLAIN = 1  # the value itself: an immutable scalar
BLOB = 2  # pickled bytes, or (pickled bytes, refs inside)
SHM = 3  # a descriptor of a segment in shared memory
ERROR = 4  # a pickled exception
MANY = 5  # a list of (status, value), one per return
DEVICE = 7  # never sent: tensors that stay with their owner
LOST = 6  # of a dependency: it is being made again; of a reply: a dependency was not there

OUT_OF_MEMORY = "out of memory: "
"""With this the reason begins for which a node ends an executor to save memory."""

INLINE_LIMIT = 100 * 1024
"""Largest pickled value, in bytes, that travels inside a message."""
