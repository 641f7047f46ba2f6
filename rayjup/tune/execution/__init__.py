"""How experiments are run.

================  =======================================================================
`controller`      the trial loop as a state machine: events in, effects out
`loop`            drives it: starts trials, takes in what they report, carries out effects
`pool`            the runners: actors that each run many trials, one at a time
`runner`          what such an actor does
`function_run`    a trainable function on a runner; `class_run`: a class
`journal`         everything that is needed to go on, appended to one file
`replay`          an experiment out of its journal
`state`           what a display sees of a running experiment
================  =======================================================================
"""
