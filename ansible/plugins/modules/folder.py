"""The module `sonde.fleet.folder`: a folder that holds exactly these files, in one call for all of them."""

import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: folder
short_description: A folder that holds exactly these files
description:
  - Writes what is missing or differs, sets owner and mode, and removes every other file and folder below.
  - One call for hundreds of files, where M(ansible.builtin.copy) needs two for each.
options:
  path: {description: The folder., type: path, required: true}
  files: {description: From names below the folder to text., type: dict, required: true}
  owner: {description: Whose the files and folders are., type: str, default: root}
  group: {description: Of which group they are., type: str, default: root}
  mode: {description: Of the files., type: str, default: "0600"}
  folder_mode: {description: Of the folder and those below., type: str, default: "0750"}
attributes:
  check_mode: {support: full, description: Changes nothing and says what would be changed.}
author: The Sonde authors
"""
EXAMPLES = """
- sonde.fleet.folder:
    path: /etc/sonde/collector.secrets
    files: {pgpass: "{{ vault_pgpass }}"}
  no_log: true
"""
RETURN = """
written: {description: Names of files that were written., type: list, returned: always}
removed: {description: Names that were removed., type: list, returned: always}
"""


def main() -> None:
    """Run it."""
    module = AnsibleModule(
        {
            "path": {"type": "path", "required": True},
            "files": {"type": "dict", "required": True, "no_log": True},
            "owner": {"default": "root"},
            "group": {"default": "root"},
            "mode": {"default": "0600"},
            "folder_mode": {"default": "0750"},
        },
        supports_check_mode=True,
    )
    _Folder(module).make()


class _Folder:
    """One folder to be made so."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._path = Path(module.params["path"])
        self._files = {name: str(text).encode() for name, text in module.params["files"].items()}
        self._changed = False

    def make(self) -> None:
        """Make it, and end the module."""
        for name in self._files:
            if not Path(name).parts or Path(name).is_absolute() or ".." in Path(name).parts:
                self._module.fail_json(msg=f'"{name}" is no name below {self._path}')
        # All but what is wanted: a link is removed as such, never followed.
        wanted = {self._path / name for name in self._files}
        folders = {above for file in wanted for above in file.parents if self._path in above.parents}
        there = sorted(self._path.rglob("*"), reverse=True) if self._path.is_dir() else []
        surplus = [
            path
            for path in there
            if path.is_symlink() or (path not in folders if path.is_dir() else path not in wanted)
        ]
        for path in surplus:
            self._remove(path)
        for folder in (self._path, *sorted(folders)):
            self._folder(folder)
        written = [name for name, data in self._files.items() if self._file(self._path / name, data)]
        self._module.exit_json(
            changed=self._changed or bool(written or surplus),
            written=written,
            removed=sorted(str(path.relative_to(self._path)) for path in surplus),
        )

    def _remove(self, path: Path) -> None:
        if self._module.check_mode:
            return
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()

    def _folder(self, path: Path) -> None:
        if not path.is_dir():
            self._changed = True
            if self._module.check_mode:
                return
            path.mkdir(mode=0o700, parents=True)
        self._attributes(path, self._module.params["folder_mode"])

    def _file(self, path: Path, data: bytes) -> bool:
        """Write a file unless it is so already; whether it was, or would be, written."""
        differs = not path.is_file() or path.is_symlink() or path.read_bytes() != data
        if differs and not self._module.check_mode:
            with tempfile.NamedTemporaryFile(dir=self._module.tmpdir, delete=False) as scratch:
                scratch.write(data)
            self._module.atomic_move(scratch.name, str(path))
        if path.is_file():
            self._attributes(path, self._module.params["mode"])
        return differs

    def _attributes(self, path: Path, mode: str) -> None:
        wanted: dict[str, Any] = {
            "path": str(path),
            "owner": self._module.params["owner"],
            "group": self._module.params["group"],
            "mode": mode,
            **dict.fromkeys(("seuser", "serole", "setype", "selevel")),
            "secontext": [],
            "attributes": None,
        }
        self._changed |= self._module.set_fs_attributes_if_different(wanted, changed=False)


if __name__ == "__main__":
    main()
