"""How plans are run: ``steps`` work on streams of blocks, ``stages`` are steps that run together in one
task or
actor, ``planner`` makes stages and exchanges out of a plan, ``placement`` decides where a plan runs.
"""
