#!/usr/bin/python
"""Ansible module: ask a server by HTTP, and read the head of its answer alone."""

from __future__ import annotations

DOCUMENTATION = r"""
module: http_status
short_description: Ask a server by HTTP for its status and cookies
description:
  - Sends a GET, or a POST of a form, past any proxy. Does not read the body of the answer, which a server that others
    control may send without end, and which ansible.builtin.uri has in memory as a whole. Follows no redirect.
  - C(timeout) of the module is for each of its waits, that of the task for all of them.
options:
  url: {description: What to ask., type: str, required: true}
  form: {description: Fields of a form to send., type: dict}
  cookies: {description: Cookies to send., type: str, default: ""}
  ca_path: {description: Certificate of the CA that the server's is of; the system's without it., type: path}
  validate_certs: {description: Whether the server's certificate is verified., type: bool, default: true}
  timeout: {description: Seconds., type: int, default: 30}
  status_code: {description: Status codes of a success., type: list, elements: int, default: [200]}
author: Edge AI Cluster
"""
EXAMPLES = r"""
- edge_ai.cluster.http_status:
    url: https://192.168.1.11:6443/ping
    validate_certs: false
"""
RETURN = r"""
status: {description: Status code of the answer; -1 without one., type: int, returned: always}
cookies: {description: Values of its cookies by their names., type: dict, returned: always}
cookies_string: {description: "The cookies, as they are sent.", type: str, returned: always}
"""

import http.client
import ssl
import urllib.parse
from contextlib import closing
from http.cookies import CookieError, SimpleCookie
from typing import Any

from ansible.module_utils.basic import AnsibleModule


def connection(options: dict[str, Any]) -> http.client.HTTPConnection:
    """A connection to the server of a URL. Raises OSError and ValueError."""
    parts = urllib.parse.urlsplit(options["url"])
    if parts.scheme == "http":
        return http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=options["timeout"])
    # Not the default context: since Python 3.13 that refuses a CA without an authority key identifier.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not options["validate_certs"]:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    elif options["ca_path"]:
        context.load_verify_locations(options["ca_path"])
    else:
        context.load_default_certs()
    return http.client.HTTPSConnection(str(parts.hostname), parts.port, timeout=options["timeout"], context=context)


def ask(options: dict[str, Any]) -> tuple[int, SimpleCookie]:
    """Status and cookies of an answer. Raises OSError, ValueError, HTTPException and CookieError."""
    parts = urllib.parse.urlsplit(options["url"])
    target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    headers = {"Cookie": options["cookies"]} if options["cookies"] else {}
    cookies = SimpleCookie()
    with closing(connection(options)) as server:
        if options["form"]:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            server.request("POST", target, urllib.parse.urlencode(options["form"]), headers)
        else:
            server.request("GET", target, headers=headers)
        answer = server.getresponse()
        for each in answer.headers.get_all("Set-Cookie", []):
            cookies.load(each)
        return answer.status, cookies


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "form": {"type": "dict", "no_log": True},
            "cookies": {"type": "str", "default": "", "no_log": True},
            "ca_path": {"type": "path"},
            "validate_certs": {"type": "bool", "default": True},
            "timeout": {"type": "int", "default": 30},
            "status_code": {"type": "list", "elements": "int", "default": [200]},
        },
        supports_check_mode=True,
    )
    nothing: dict[str, Any] = {"cookies": {}, "cookies_string": ""}
    try:
        status, cookies = ask(module.params)
    except (OSError, ValueError, http.client.HTTPException, CookieError) as error:
        module.fail_json(msg=f"{module.params['url']} does not answer: {error}", status=-1, **nothing)
    result = {
        "status": status,
        "cookies": {name: each.value for name, each in cookies.items()},
        "cookies_string": "; ".join(f"{name}={each.coded_value}" for name, each in cookies.items()),
    }
    if status not in module.params["status_code"]:
        module.fail_json(msg=f"{module.params['url']} answers with the HTTP status {status}", **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
