"""The lookup `sonde.fleet.tree`: the files of folders of the controller, by name, with what is in them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: tree
short_description: The files of a folder of the controller, with what is in them
description:
  - Gives a dictionary from the name below the folder to the text; what ansible-vault encrypted is decrypted.
  - Hidden files are left out. A term that is a file gives this one.
options:
  _terms:
    description: Folders or files, looked for as M(ansible.builtin.copy) looks for its src.
    required: true
  under:
    description: Put this before each name.
    type: str
    default: ""
  relative_to:
    description: Terms are below this folder, and names begin there too.
    type: str
"""
EXAMPLES = """
- sonde.fleet.folder:
    path: /etc/sonde/agent.credentials/acme
    files: "{{ lookup('sonde.fleet.tree', 'acme-profiles', under='profiles/') }}"
"""
RETURN = """
_raw:
  description: One dictionary a term.
  type: list
  elements: dict
"""


class LookupModule(LookupBase):
    """What Ansible asks for a lookup."""

    def run(
        self, terms: Sequence[str], variables: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[dict[str, str]]:
        """Read them."""
        self.set_options(var_options=variables, direct=kwargs)
        return [self._tree(term, variables) for term in terms]

    def _tree(self, term: str, variables: Mapping[str, Any] | None) -> dict[str, str]:
        base = self.get_option("relative_to")
        path = str(Path(base or "", term))
        found = self.find_file_in_search_path(variables, "files", path, ignore_missing=True)
        if not found:
            raise AnsibleError(f"{path}: no such file or folder on the controller")
        place = Path(found)
        files = [place] if place.is_file() else sorted(file for file in place.rglob("*") if file.is_file())
        above = place.parent if place.is_file() else place
        names = {file: file.relative_to(above) for file in files}
        start = Path(self.get_option("under"), *(Path(term).parts if base is not None else ()))
        if base is not None and place.is_file():
            start = start.parent
        return {
            str(start / name): self._loader.get_text_file_contents(str(file))
            for file, name in names.items()
            if not any(part.startswith(".") for part in name.parts)
        }
