"""Raspberry Pi OS for a cloud-init that does not know it yet (made by the lab of the Edge AI Cluster).

The vendor's downstream cloud-init hands the first user of the seed to userconf, which renames the user that
the image ships (uid 1000, locked, no login shell), and then applies shell, comment and groups. Debian's class
would leave the shell of an existing user alone, so no user could log in.
"""

from cloudinit import subp
from cloudinit.distros import debian

USERCONF = "/usr/lib/userconf-pi/userconf"


class Distro(debian.Distro):
    """Debian, with the first user made by renaming the one that the image ships."""

    def __init__(self, name, cfg, paths):
        super().__init__(name, cfg, paths)
        self._first_user_made = False

    def create_user(self, name, **kwargs):
        """Make a user; the first one takes over uid 1000, later ones are added as Debian does."""
        if not self._first_user_made:
            self._first_user_made = True
            password_hash = kwargs.get("hashed_passwd") or kwargs.get("passwd")
            subp.subp([USERCONF, name] + ([password_hash] if password_hash else []))
            self._apply_account(name, kwargs)
        return super().create_user(name, **kwargs)

    @staticmethod
    def _apply_account(name, settings):
        options = []
        if settings.get("shell"):
            options += ["--shell", settings["shell"]]
        if settings.get("gecos"):
            options += ["--comment", settings["gecos"]]
        groups = settings.get("groups")
        if groups:
            if isinstance(groups, str):
                groups = groups.split(",")
            options += ["--groups", ",".join(group.strip() for group in groups)]
        if options:
            subp.subp(["usermod", *options, name])
