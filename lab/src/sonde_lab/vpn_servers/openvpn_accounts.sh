#!/bin/sh
# The provider's accounts where no C compiler is: as openvpn_accounts.c, but each login waits for a shell.
# usage: openvpn_accounts.sh USERS SESSIONS SERVER     (OpenVPN says the rest in the environment)
case $script_type in
  user-pass-verify)
    while read -r name secret; do
      [ "$name" = "$username" ] && [ "$secret" = "$password" ] && exit 0
    done <"$1"
    exit 1 ;;
  client-connect) echo "$(date +%s.%6N) $3 connect $username" >>"$2" ;;
  client-disconnect) echo "$(date +%s.%6N) $3 disconnect $username" >>"$2" ;;
esac
