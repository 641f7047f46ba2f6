"""Names for the files that are written."""

from __future__ import annotations

from typing import Any


class FilenameProvider:
    """Names files; subclass it and define ``get_filename_for_task``.

    Parameters
    ----------
    dataset_uuid
        Put first in the name, where it is given.
    file_format
        The extension.

    Examples
    --------
    >>> from rayjup.data.datasource import FilenameProvider
    >>> class Numbered(FilenameProvider):
    ...     def get_filename_for_task(self, write_uuid, task_index):
    ...         return f"part-{task_index}.{self.file_format}"
    >>> Numbered(file_format="csv").get_filename_for_task("w", 3)
    'part-3.csv'
    """

    def __init__(self, dataset_uuid: str | None = None, file_format: str | None = None) -> None:
        self.dataset_uuid = dataset_uuid
        self.file_format = file_format

    def get_filename_for_task(self, write_uuid: str, task_index: int) -> str:
        """The name of the file of a task; unique and the same each time.

        Parameters
        ----------
        write_uuid
            The same for all tasks of one write.
        task_index
            The number of the task.
        """
        prefix = f"{self.dataset_uuid}_" if self.dataset_uuid else ""
        ending = f".{self.file_format}" if self.file_format else ""
        return f"{prefix}{write_uuid}_{task_index:06}{ending}"

    # The older spellings; a subclass may define these instead.

    def get_filename_for_block(self, block: Any, write_uuid: str, task_index: int, block_index: int) -> str:
        """The name of the file of a block: the task's, with the block's number from the second on."""
        name = self.get_filename_for_task(write_uuid, task_index)
        return name if block_index == 0 else _numbered(name, f"{block_index:06}")

    def get_filename_for_row(
        self, row: dict[str, Any], write_uuid: str, task_index: int, block_index: int, row_index: int
    ) -> str:
        """The name of the file of a row: the task's, with the numbers of block and row."""
        name = self.get_filename_for_task(write_uuid, task_index)
        return _numbered(name, f"{block_index:06}_{row_index:06}")


def _numbered(name: str, numbers: str) -> str:
    stem, dot, ending = name.partition(".")
    return f"{stem}_{numbers}{dot}{ending}"
