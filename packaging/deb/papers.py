"""The texts of a package: control, changelog, copyright. All of them pure."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime

from wheels import Wheel


def control(template: str, fields: Mapping[str, str], values: Mapping[str, str]) -> str:
    """Give DEBIAN/control: `fields`, then the package's own with its @names@ filled in."""
    text = template
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    lines = [line for line in text.splitlines() if not line.endswith(": ")]
    own = "\n".join(lines).replace(", ,", ",").replace(": ,", ":")
    return "".join(f"{key}: {value}\n" for key, value in fields.items()) + own + "\n"


def changelog(package: str, version: str, release: str, maintainer: str, epoch: int) -> str:
    """Give the Debian changelog: one entry, which names where the changes stand."""
    when = format_datetime(datetime.fromtimestamp(epoch, UTC))
    return (
        f"{package} ({version}) {release}; urgency=medium\n\n"
        f"  * Built from the sources of this version; what changed stands in NEWS.md.gz.\n\n"
        f" -- {maintainer}  {when}\n"
    )


def copyright_file(site: str, wheels: Iterable[Wheel], epoch: int) -> str:
    """Give the copyright file: our licence, and the one that each vendored package names.

    Args:
        site: the site-packages directory in the package.
        wheels: what lies in it.
        epoch: when it was laid there [s since 1970].
    """
    year = datetime.fromtimestamp(epoch, UTC).year
    paragraphs = [
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
        "Upstream-Name: Sonde\n"
        "Comment: Under " + site + " lie wheels as their makers published them; each holds\n"
        " its copyright notices and licence texts in its own .dist-info folder.\n",
        "Files: *\nCopyright: 2026 The Sonde contributors\nLicense: Apache-2.0\n",
    ]
    paragraphs += [
        f"Files: {site}/{wheel.name.replace('-', '_')}-{wheel.version}.dist-info/*\n"
        f"Copyright: {year} The authors of {wheel.name}\n"
        f"License: {wheel.name}\n {wheel.licence}: the texts are in this folder.\n"
        for wheel in wheels
        if not wheel.ours
    ]
    paragraphs.append(
        "License: Apache-2.0\n On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0.\n"
    )
    return "\n".join(paragraphs)
