"""Jupyter in a pod: notebooks on /books, its own data not on NFS, and always a password."""

from pathlib import Path

c = get_config()  # noqa: F821  (defined by Jupyter)

c.ServerApp.ip = "0.0.0.0"
c.ServerApp.port = 8888
c.ServerApp.port_retries = 0
c.ServerApp.open_browser = False
c.ServerApp.root_dir = "/books"

# The password is required: without the Secret the server does not start.
c.PasswordIdentityProvider.hashed_password = Path("/etc/jupyter-password/hashed_password").read_text().strip()
c.PasswordIdentityProvider.password_required = True
c.IdentityProvider.token = ""

# SQLite locks do not work on NFS: signatures and file ids are in JUPYTER_DATA_DIR, IPython's history in IPYTHONDIR, and
# the pod sets both to a separate volume.
c.FileContentsManager.delete_to_trash = False

# All replicas sign cookies with the same secret: a login with one is a login with all. Jupyter adds the password to it.
cookie_secret = Path("/etc/jupyter-password/cookie_secret")
if cookie_secret.exists():
    c.ServerApp.cookie_secret_file = str(cookie_secret)

# One login for all of an address: Jupyters under other paths and ports of it, and the status page.
c.IdentityProvider.cookie_name = "edge-ai-login"
c.IdentityProvider.cookie_options = {"path": "/"}

# The Ingress says by which scheme and from where a request came: cookies are Secure over https.
c.ServerApp.trust_xheaders = True

# A request is in memory as a whole before anything asks who sent it. A notebook is saved by one, with its plots; larger
# files are uploaded in parts.
c.ServerApp.max_body_size = c.ServerApp.max_buffer_size = 64 * 2**20

# What is idle ends, and its memory is free: kernels that compute nothing and that no browser shows, terminals that
# print nothing.
# A file with the seconds (0: never) beside this one sets it; the default is a night.
idle_timeout = Path("/etc/jupyter-config/idle_timeout")
seconds = int(idle_timeout.read_text()) if idle_timeout.exists() else 8 * 3600
c.MappingKernelManager.cull_idle_timeout = c.TerminalManager.cull_inactive_timeout = seconds
c.MappingKernelManager.cull_interval = c.TerminalManager.cull_interval = max(1, min(300, seconds // 10))
