"""Settings of the image's Jupyter; a deployment adds its own as files in /etc/jupyter or as arguments.

There is no token or password here on purpose: without one given, Jupyter makes up a token at each
start and prints it to its log, and so it always asks.
"""

c = get_config()  # noqa: F821

c.ServerApp.ip = "0.0.0.0"  # In a container; who may reach it is decided outside.
c.ServerApp.port = 8888
c.ServerApp.port_retries = 0  # Another port would not be the one that is published.
c.ServerApp.open_browser = False
c.ServerApp.root_dir = "/books"
c.ServerApp.allow_remote_access = True  # The Host header names a board, not this container.
