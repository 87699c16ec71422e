"""Files on the control node that one role writes and others read: all look where k3s_* says."""

from pathlib import Path

import pytest
import yaml
from jinja2 import Environment

from tests.support.paths import ROOT

WRITTEN_BY = "k3s"
HOSTVARS = {"k3s_kubeconfig": "/own/config", "k3s_token_file": "/own/token", "k3s_agent_token_file": "/own/agent-token"}
DEFAULTS = {
    name: text
    for path in sorted(ROOT.glob("roles/*/defaults/main.yml"))
    if path.parts[-3] != WRITTEN_BY
    for name, text in yaml.safe_load(path.read_text()).items()
    if name.endswith(("_kubeconfig", "backup_token_file", "backup_agent_token_file"))
}


def rendered(text: str, **values: object) -> Path:
    return Path(
        Environment(autoescape=False).from_string(text).render(cluster_secrets_dir="/secrets", **values).strip()
    )


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_file_is_where_the_k3s_role_has_it(name: str) -> None:
    server = {"cluster_backup_server": "pi-01"}
    assert rendered(DEFAULTS[name], **server, hostvars={"pi-01": HOSTVARS}, **HOSTVARS).parent == Path("/own")
    assert rendered(DEFAULTS[name], **server, hostvars={"pi-01": {}}).parent == Path("/secrets")
