"""All errors of rayjup; mirrors ``ray.exceptions``. Defined in ``rayjup.base.exceptions``."""

from rayjup.base.exceptions import *  # noqa: F403
from rayjup.base.exceptions import __all__ as __all__
