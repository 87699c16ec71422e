"""From docker/ to an image on the boards, by programs of the control node.

`python -m container_image ref|build|send --help`, started from the parent directory.
The role calls it through its action plugin.
"""
