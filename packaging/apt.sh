#!/bin/sh
# Install Debian packages that tests or benchmarks use, where this user may. Never a failure: what can't be
# had is left out with one line that says what and why, and the tests that need it skip with its name.
#
# usage: packaging/apt.sh PURPOSE PACKAGE...        APT=0: touch nothing
#
# No service is started, now or at the next boot: a temporary policy-rc.d refuses starts while dpkg runs (only
# where none is there), and units that the new packages enabled are disabled again.
set -u
purpose=$1
shift

missing=
for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

left_out() {
    echo "left out for $purpose:$missing ($1)"
    exit 0
}

[ "${APT:-1}" != 0 ] || left_out "APT=0"
command -v apt-get >/dev/null || left_out "Debian packages, and this system has no apt-get"
if [ "$(id -u)" = 0 ]; then
    as_root=
elif sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    left_out "apt needs root or passwordless sudo"
fi

echo "apt installs for $purpose:$missing (no service is started; APT=0 leaves them out)"
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap '$as_root rm -f $policy' EXIT
    trap 'exit 1' INT TERM
    printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null && $as_root chmod 755 $policy
fi

apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 "$@"
}

log=$(mktemp)
ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 || apt update >"$log" 2>&1
# Together first; one by one where one of them can't be had, so that the others still come.
apt install -y --no-install-recommends $missing >"$log" 2>&1 </dev/null || {
    apt update >"$log" 2>&1
    for package in $missing; do
        apt install -y --no-install-recommends "$package" >"$log" 2>&1 </dev/null ||
            echo "left out for $purpose: $package ($(grep -m 1 '^E: ' "$log" || echo "apt-get failed"))"
    done
}
rm -f "$log"

if command -v systemctl >/dev/null; then
    dpkg -L $missing 2>/dev/null | sed -n 's#^/\(usr/\)\{0,1\}lib/systemd/system/\([^/@]*\.\(service\|socket\|timer\)\)$#\2#p' |
        xargs -r $as_root systemctl disable >/dev/null 2>&1
fi
exit 0
