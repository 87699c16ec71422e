"""Lookup: a variable of a role, for other roles and playbooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.template import Templar

DOCUMENTATION = """
name: role_variable
short_description: a variable of a role as that role has it
description:
  - What the inventory, a play or the command line say, else the default of the role that the name begins with.
  - A name that begins with an underscore is a variable that this role computes, by its own vars.
  - Ansible knows the defaults of a role in that role alone; other roles would repeat them.
options:
  _terms: {description: Name of the variable., required: true}
  host: {description: The host whose variable it is; the current one when empty., type: str, default: ""}
"""

EXAMPLES = """
manifests_kubeconfig: "{{ lookup('edge_ai.cluster.role_variable', 'k3s_kubeconfig') }}"
notebooks_export: "{{ lookup('edge_ai.cluster.role_variable', 'nfs_server_export', host='pi-01') }}"
"""

RETURN = """
_raw: {description: The value., type: raw}
"""

ROLES = Path(__file__).resolve().parents[2] / "roles"


class LookupModule(LookupBase):
    """See DOCUMENTATION."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """One value for each name. Raises AnsibleLookupError when no role has a default for it."""
        self.set_options(var_options=variables, direct=kwargs)
        known = variables or {}
        if host := self.get_option("host"):
            hosts = known["hostvars"]
            known = {**(hosts.raw_get(host) if host in hosts else {}), "hostvars": hosts}
        return [self._value(name, known) for name in terms]

    def _value(self, name: str, known: dict[str, Any]) -> Any:
        owners = [path.name for path in ROLES.iterdir() if name.lstrip("_").startswith(f"{path.name}_")]
        role = ROLES / max(owners, key=len, default="")
        own: dict[str, Any] = {}
        for path in (role / "defaults/main.yml", *([role / "vars/main.yml"] if name.startswith("_") else [])):
            own |= self._loader.load_from_file(str(path), trusted_as_template=True) if path.is_file() else {}
        if name not in own:
            raise AnsibleLookupError(f"no role has a default for {name!r}: correct the name")
        # One may be made of others of its role.
        values = {**own, **known, "role_path": str(role)}
        return Templar(self._loader, variables=values).template(values[name])
