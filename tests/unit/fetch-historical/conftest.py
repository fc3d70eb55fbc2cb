"""The tests' own server of Yahoo's format is beside the folders of tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
