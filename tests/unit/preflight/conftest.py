"""The judges stand in the role, not in a package: tests import them as the role's action plugins do."""

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(PROJECT / "roles" / "preflight" / "module_utils"))
