"""Root's commands run as the collector's own user: its database, files and secrets are that user's."""

import os
import pwd
from pathlib import Path


def become_owner(state_dir: Path) -> str:
    """Let this process, where it is root's, be of whom `state_dir` is, for good.

    So an operator needs no `sudo -u`, and no file of root's turns up where the service must write.

    Returns:
        That user's name, or number; "" where nothing was changed.
    """
    if os.geteuid() != 0 or not state_dir.exists():
        return ""
    uid, gid = (stat := state_dir.stat()).st_uid, stat.st_gid
    if uid == 0:
        return ""
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        os.setgroups([])
        name = f"uid {uid}"
    else:
        os.initgroups(user.pw_name, gid)
        os.environ["HOME"] = user.pw_dir  # libpq looks there
        name = user.pw_name
    os.setgid(gid)
    os.setuid(uid)
    return name
