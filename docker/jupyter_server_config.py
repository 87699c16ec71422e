"""Settings of the image's Jupyter; a deployment adds its own as files in /etc/jupyter or as arguments.

There is no token or password here on purpose: without one, Jupyter generates a token at each start and prints it to
its log, so it always authenticates.
"""

c = get_config()  # noqa: F821

c.ServerApp.ip = "0.0.0.0"  # In a container; access is controlled outside.
c.ServerApp.port = 8888
c.ServerApp.port_retries = 0  # Another port is not published.
c.ServerApp.open_browser = False
c.ServerApp.root_dir = "/books"
c.ServerApp.allow_remote_access = True  # The Host header has a board's name, not this container's.
