"""From docker/ to an image on the boards, by programs of the control node.

The role runs it through its action plugin; its README has the command line by which it is run by hand.
"""
