"""Executors: the processes that run tasks and actors.

``zygote`` is the warm process they are forked from, ``child`` what happens right after the fork,
``environment`` its runtime environment, ``executor`` the loop that runs calls, ``loop`` the event
loop of asyncio actors, ``retiring`` ends it after so many calls, ``actor_modes`` the three ways an
actor takes its calls, ``running`` which call a thread is in, ``results`` turns what a call made
into its reply, ``streams`` sends what a generator yields, ``logs`` forwards what it prints,
``events`` remembers what it has run, ``postmortem`` keeps the frames of a failure for a debugger,
``threads`` gives numeric libraries as many threads as the lease has CPUs.
"""
