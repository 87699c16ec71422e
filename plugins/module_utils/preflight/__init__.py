"""Checks of an inventory, a control node and the boards: plain Python that knows neither Ansible nor any host.

`reader.py` is the one module here that imports Ansible: it turns what Ansible loaded into a `model.Inventory`.
"""
