"""Stands first on the import path of a job's program, and makes ``import ray`` mean rayjup."""

import os
import sys

from rayjup.base.alias import install

# This module is no more than the place where that is said: neither it nor its directory stays.
_here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != _here]
del sys.modules[__name__]
install()
