"""The bill of materials of one package, as CycloneDX 1.6 JSON."""

import json
import re
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime

from wheels import Wheel

# What a package may write instead of an SPDX expression, of the ones that we ship.
_SPDX = re.compile(r"\(?[A-Za-z0-9.+-]+\)?( (AND|OR|WITH) \(?[A-Za-z0-9.+-]+\)?)*")


def cyclonedx(package: str, version: str, wheels: Iterable[Wheel], epoch: int) -> str:
    """Give the document: every wheel with its version, licence and hash. **Pure.**

    Args:
        package: name of the Debian package.
        version: of the Debian package.
        wheels: what is in it.
        epoch: the moment that it is made for [s since 1970].
    """
    components = [_component(wheel) for wheel in wheels]
    whole = f"{package} {version} " + " ".join(wheel.sha256 for wheel in wheels)
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, whole)}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "application",
                "bom-ref": package,
                "name": package,
                "version": version,
                "licenses": [{"expression": "Apache-2.0"}],
            },
        },
        "components": components,
        "dependencies": [{"ref": package, "dependsOn": [component["bom-ref"] for component in components]}],
    }
    return json.dumps(document, indent=1) + "\n"


def _component(wheel: Wheel) -> dict[str, object]:
    spdx = _SPDX.fullmatch(wheel.licence) is not None and wheel.licence != "NOASSERTION"
    return {
        "type": "library",
        "bom-ref": f"{wheel.name}@{wheel.version}",
        "name": wheel.name,
        "version": wheel.version,
        "purl": f"pkg:pypi/{wheel.name}@{wheel.version}",
        "licenses": [{"expression": wheel.licence} if spdx else {"license": {"name": wheel.licence}}],
        "hashes": [{"alg": "SHA-256", "content": wheel.sha256}],
        "properties": [{"name": "sonde:wheel", "value": wheel.file.name}],
    }
