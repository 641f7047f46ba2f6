"""What a writer does with what is there already."""

from __future__ import annotations

import enum


class SaveMode(str, enum.Enum):
    """What a writer does with what is there already."""

    APPEND = "append"
    OVERWRITE = "overwrite"
    IGNORE = "ignore"
    ERROR = "error"
    CREATE = "create"
    UPSERT = "upsert"
