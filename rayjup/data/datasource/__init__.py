"""Sources and sinks of datasets; one file per format.

``datasource`` and ``datasink`` are the interfaces: a source gives read tasks, each of which yields blocks
where it is run; a sink is given blocks, task by task. ``file_based`` (many files, one format),
``partitioning`` (values in paths), ``file_datasink`` (blocks or rows to files) and ``filename`` are the base
of the formats.
"""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    **dict.fromkeys(
        ("Datasource", "ReadTask", "RandomIntRowDatasource"), "rayjup.data.datasource.datasource"
    ),
    **dict.fromkeys(
        ("Datasink", "DummyOutputDatasink", "WriteResult", "WriteReturnType"),
        "rayjup.data.datasource.datasink",
    ),
    "SaveMode": "rayjup.data.datasource.savemode",
    **dict.fromkeys(
        (
            "BaseFileMetadataProvider",
            "DefaultFileMetadataProvider",
            "FileBasedDatasource",
            "FileMetadataProvider",
            "FileShuffleConfig",
        ),
        "rayjup.data.datasource.file_based",
    ),
    **dict.fromkeys(
        ("BlockBasedFileDatasink", "RowBasedFileDatasink"), "rayjup.data.datasource.file_datasink"
    ),
    "FilenameProvider": "rayjup.data.datasource.filename",
    **dict.fromkeys(
        ("PartitionStyle", "Partitioning", "PathPartitionFilter", "PathPartitionParser"),
        "rayjup.data.datasource.partitioning",
    ),
    "Connection": "rayjup.data.datasource.sql",
    "DeltaSharingDatasource": "rayjup.data.datasource.delta_sharing",
    "LeRobotDatasource": "rayjup.data.datasource.lerobot",
    **dict.fromkeys(("MCAPDatasource", "TimeRange"), "rayjup.data.datasource.mcap"),
    "TurbopufferDatasink": "rayjup.data.datasource.turbopuffer",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'rayjup.data.datasource' has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
