"""Filters by which the roles say what stands in agent.toml."""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

_FILES = {"profiles": "profiles", "template": "template.conf", "username": "username", "password": "password"}
_OTHER = {"readable_by_agent"}


class FilterModule:
    """What Ansible asks for filters."""

    def filters(self) -> dict[str, Any]:
        """Give them by name."""
        return {"credential_tables": credential_tables, "host_port": host_port}


def credential_tables(credentials: Mapping[str, Mapping[str, Any]], folder: str) -> dict[str, dict[str, str]]:
    """Give [credential.NAME] of agent.toml: where the role puts what each account has. **Pure**.

    Args:
        credentials: `sonde_agent_credentials`.
        folder: above the folders of the accounts.

    Raises:
        AnsibleFilterError: a key that no account has.
    """
    for name, account in credentials.items():
        if unknown := sorted(account.keys() - _FILES.keys() - _OTHER):
            raise AnsibleFilterError(
                f"sonde_agent_credentials.{name}: there is no {', '.join(unknown)}; "
                f"there are {', '.join([*_FILES, *_OTHER])}"
            )
    return {
        name: {
            f"{key}_file" if key in ("username", "password") else key: f"{folder}/{name}/{file}"
            for key, file in _FILES.items()
            if key in account
        }
        for name, account in credentials.items()
    }


def host_port(host: str, port: int) -> str:
    """Give "host:port", an IPv6 address in brackets. **Pure**."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
