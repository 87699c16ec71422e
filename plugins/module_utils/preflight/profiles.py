"""Profiles of the notebooks: what is predicted has been trained."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from .model import Host, Inventory, Report

# Whose training leaves what a profile predicts with; the others have their own.
_TRAINED_AS = {"lite": "fast"}


def check(inventory: Inventory, report: Report) -> None:
    """Report predictions without a training, and an overlay whose pods would have no model."""
    predicting = ("notebooks_prediction_profiles", "notebooks_board_profiles")
    for name in ("notebooks_profiles", *predicting):
        for host, setting in inventory.settings(name):
            trained = _listed(host, inventory, "notebooks_profiles")
            for profile in _texts(setting.value):
                source = _TRAINED_AS.get(profile, profile)
                if source not in trained:
                    report.setting(
                        host,
                        setting,
                        f"{profile} predicts with what the training of {source} leaves, and {source} is not trained",
                        f"write {source} in notebooks_profiles too",
                    )
    for host, setting in inventory.settings("manifests_overlay"):
        if PurePosixPath(str(setting.value)).name == "lite" and not any(
            "lite" in _listed(host, inventory, name) for name in ("notebooks_profiles", *predicting)
        ):
            report.setting(
                host,
                setting,
                "its pods predict with the image and the model of the profile lite, which no board gets",
                "write notebooks_profiles: [fast, lite]",
            )


def _listed(host: Host, inventory: Inventory, name: str) -> list[str]:
    return _texts(inventory.value(host, name))


def _texts(value: Any) -> list[str]:
    """The texts of a list; what has another type is reported by `variables`, a template of a role is none of them."""
    return (
        [one for one in value if isinstance(one, str)]
        if isinstance(value, Iterable) and not isinstance(value, str)
        else []
    )
