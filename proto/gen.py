#!/usr/bin/env python3
"""Regenerate the protobuf code, or with --check fail when the committed code is not what the .proto gives.

usage: python proto/gen.py [--check]
"""

import filecmp
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

from grpc_tools import protoc

SOURCE = Path(__file__).parent / "src"
ROOM = Path("sonde_proto/v1")
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


def generate(into: Path) -> None:
    """Write the generated files of every .proto under `into`."""
    scripts = Path(sysconfig.get_path("scripts"))
    status = protoc.main(
        [
            "protoc",
            f"--proto_path={SOURCE}",
            f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
            f"--python_out={into}",
            f"--grpc_python_out={into}",
            f"--mypy_out=quiet:{into}",
            f"--mypy_grpc_out=quiet:{into}",
            *(str(path) for path in sorted((SOURCE / ROOM).glob("*.proto"))),
        ]
    )
    if status:
        sys.exit(status)


def files(root: Path) -> set[str]:
    """Return the names of the generated files in the room under `root`."""
    return {path.name for pattern in GENERATED for path in (root / ROOM).glob(pattern)}


def main() -> int:
    """Return the exit code: 1 when --check finds a difference."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        generate(fresh)
        if "--check" not in sys.argv[1:]:
            for name in files(SOURCE) - files(fresh):
                (SOURCE / ROOM / name).unlink()
            for name in files(fresh):
                shutil.copyfile(fresh / ROOM / name, SOURCE / ROOM / name)
            return 0
        stale = sorted(
            name
            for name in files(SOURCE) | files(fresh)
            if not (SOURCE / ROOM / name).exists()
            or not (fresh / ROOM / name).exists()
            or not filecmp.cmp(SOURCE / ROOM / name, fresh / ROOM / name, shallow=False)
        )
        for name in stale:
            print(f"{ROOM / name} is not what the .proto gives: run `make proto`", file=sys.stderr)
        return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
