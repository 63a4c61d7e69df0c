"""Run docs/phantom.ipynb and keep what its cells show, without what libraries say to stderr.

python scripts/run_notebook.py
"""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "phantom.ipynb"


def run(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with the outputs of its cells.

    Raises:
        nbclient.exceptions.CellExecutionError: where a cell fails.
    """
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of this run
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata.pop("language_info", None)
    return notebook


if __name__ == "__main__":
    nbformat.write(run(nbformat.read(NOTEBOOK, as_version=4)), NOTEBOOK)
