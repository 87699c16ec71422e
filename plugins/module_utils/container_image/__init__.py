"""From docker/ to an image on the boards, as programs of the control node.

`python -m container_image ref|build|send --help`, started from the folder above.
The role calls it through its action plugin.
"""
