"""Puts the conformance executor and its stubs on the path."""

import sys
from pathlib import Path

CONFORMANCE = Path(__file__).parents[1] / "conformance"
sys.path[:0] = [str(CONFORMANCE), str(CONFORMANCE / "stubs")]
