"""Relational work on tables in memory: Polars where the types allow it, Arrow otherwise.

``frames`` goes between Arrow and Polars; ``sorting``, ``grouping``, ``joining``, ``shuffling`` hold one
kind of
work each, in the forms that both ways of running need: whole tables, and parts that are put together.
"""
