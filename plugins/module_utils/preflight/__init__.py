"""Checks of an inventory, a control node and the boards: plain Python that depends neither on Ansible nor on any host.

`reader.py` is the one module here that imports Ansible: it turns what Ansible loaded into a `model.Inventory`.
"""
