"""Pictures of graphs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from typing import Any

from rayjup.dag.dag_node import DAGNode


def dot_of(dag: DAGNode) -> str:
    """The graph in the DOT language."""
    names: dict[str, str] = {}
    lines: list[str] = []

    def name_of(node: DAGNode) -> str:
        known = names.get(node._stable_uuid)
        if known is None:
            label = node._label().replace('"', "'")
            taken = set(names.values())
            known, number = label, 1
            while known in taken:
                known, number = f"{label}_{number}", number + 1
            names[node._stable_uuid] = known
            lines.append(f'  "{known}";')
        return known

    def walk(node: DAGNode) -> None:
        if node._stable_uuid in names:
            return
        target = name_of(node)
        for child in node._get_all_child_nodes():
            walk(child)
            lines.append(f'  "{name_of(child)}" -> "{target}";')

    walk(dag)
    return "digraph {\n  rankdir=LR;\n" + "\n".join(lines) + "\n}\n"


def render(dot: str, to_file: str, extension: str) -> None:
    """Write the DOT text as a picture. Raises ImportError where graphviz is not installed."""
    program = shutil.which("dot")
    if program is None:
        raise ImportError(
            "drawing a graph needs graphviz's program `dot`, which is not on the PATH: install graphviz from "
            "https://graphviz.org/download, or use a file name ending in .dot to get the text"
        )
    subprocess.run([program, f"-T{extension}", "-o", to_file], input=dot.encode(), check=True)


def plot(dag: DAGNode, to_file: str | None = None) -> Any:
    """Draw the graph.

    Parameters
    ----------
    dag
        The last node.
    to_file
        Where to write the picture; its ending says the format (``.dot`` is plain text). By default
        the picture is only shown, in notebooks.

    Returns
    -------
    IPython.display.Image or None
        The picture, where IPython is installed.
    """
    name, extension = to_file, "png"
    if name is None:
        handle, name = tempfile.mkstemp(suffix=".png")
        os.close(handle)
    else:
        extension = os.path.splitext(name)[1][1:] or "png"
    try:
        if extension in ("dot", "gv"):
            with open(name, "w", encoding="utf-8") as file:
                file.write(dot_of(dag))
            return None
        render(dot_of(dag), name, extension)
        if extension not in ("png", "jpg", "jpeg", "gif"):
            return None
        try:
            from IPython import display
        except ImportError:
            return None
        with open(name, "rb") as file:
            return display.Image(data=file.read())
    finally:
        if to_file is None:
            os.unlink(name)
