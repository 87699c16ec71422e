"""Modules that are not on Python's path, because Ansible or the cluster finds them elsewhere."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any


def load(path: Path) -> Any:
    """A module from its file; raises what the module raises.

    It is known under a name made of its path, so that two files of one name don't meet; dataclasses look their module
    up by it.
    """
    name = "_".join(path.with_suffix("").parts[-3:])
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
