"""Virtual Raspberry Pis on User-mode Linux, their network, and the mirror they install from."""
