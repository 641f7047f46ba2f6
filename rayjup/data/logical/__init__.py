"""The plan of a dataset: frozen operators, each with the operators it takes its rows from.

``base``: what all have; ``sources``, ``maps`` (functions of one's own), ``columns`` (expressions and names),
``rearrange`` (order, number, blocks), ``combine`` (several datasets), ``groups`` and ``write``: one family
each.
``rules`` rewrites plans: pure functions, plan in, plan out. ``estimate`` says what is known before running.
"""
