"""`python -m rayjup.serve`: the command line."""

import sys

from rayjup.serve.scripts import main

sys.exit(main())
