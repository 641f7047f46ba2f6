"""Who owns an object and who else holds it.

The process that made a ref owns the object: its value or location and the count of borrowers.
``object_ref`` is the ref itself, ``exports`` the bookkeeping between processes.

Rules
-----
1. Refs in a call are pinned by the submitter until the reply, which lists those the executor
   still holds.
2. An object that holds refs keeps them alive.
3. A ref pickled by hand, outside of a call, is pinned for the life of its process.
4. A borrower registers with the owner while somebody else still pins the object; counts are kept
   per borrower and signed, so that messages on two connections may overtake each other.
5. When a borrower's connection ends, its counts go with it.
"""
