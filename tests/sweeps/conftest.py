"""A folder for real sweeps."""

import pytest
from real_sweeps import Place


@pytest.fixture
def place(tmp_path):
    """Return an empty folder from which the command line is used."""
    return Place(tmp_path)
