#!/usr/bin/python
"""Ansible module: whether Ansible may be root on a board. An action plugin of the same name does all of it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: flash_login
short_description: Validate that Ansible can log in to a board and be root there
description:
  - Uses the connection and become of the task, as all later tasks do. Changes nothing.
  - Fails with what to do about a login that is refused, and about sudo that asks for a password.
options: {}
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.flash_login:
  become: true
"""
RETURN = r"""
"""
