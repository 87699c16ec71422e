"""Where things are in the repository."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / "collections"
CORPUS = ROOT / "tests" / "unit" / "plugins" / "module_utils" / "preflight" / "corpus"
