// The provider's accounts, inside its OpenVPN servers: who may log in, and who came and went.
//
// plugin accounts.so USERS SESSIONS SERVER
//   USERS     a file of lines "NAME PASSWORD", read at each login
//   SESSIONS  gets a line "SECONDS SERVER connect|disconnect NAME" for each
// In the server's own process, because a script costs a login several milliseconds of the handshake that is measured.
#include <fcntl.h>
#include <openvpn/openvpn-plugin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct accounts {
  char *users, *sessions, *server;
};

static const char *value(const char *name, const char *const envp[]) {
  size_t length = strlen(name);
  for (int i = 0; envp[i]; i++)
    if (!strncmp(envp[i], name, length) && envp[i][length] == '=') return envp[i] + length + 1;
  return "";
}

OPENVPN_EXPORT openvpn_plugin_handle_t openvpn_plugin_open_v1(unsigned int *types, const char *argv[],
                                                              const char *envp[]) {
  (void)envp;
  if (!argv[0] || !argv[1] || !argv[2] || !argv[3]) return NULL;
  struct accounts *accounts = malloc(sizeof *accounts);
  *accounts = (struct accounts){strdup(argv[1]), strdup(argv[2]), strdup(argv[3])};
  *types = OPENVPN_PLUGIN_MASK(OPENVPN_PLUGIN_AUTH_USER_PASS_VERIFY) |
           OPENVPN_PLUGIN_MASK(OPENVPN_PLUGIN_CLIENT_CONNECT) | OPENVPN_PLUGIN_MASK(OPENVPN_PLUGIN_CLIENT_DISCONNECT);
  return accounts;
}

static int may_log_in(const struct accounts *accounts, const char *const envp[]) {
  char name[256], password[256];
  int found = 0;
  FILE *users = fopen(accounts->users, "r");
  while (users && !found && fscanf(users, "%255s %255s", name, password) == 2)
    found = !strcmp(name, value("username", envp)) && !strcmp(password, value("password", envp));
  if (users) fclose(users);
  return found;
}

static void note(const struct accounts *accounts, const char *what, const char *name) {
  char line[512];
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  int length = snprintf(line, sizeof line, "%lld.%06ld %s %s %.200s\n", (long long)now.tv_sec, now.tv_nsec / 1000,
                        accounts->server, what, name);
  int file = open(accounts->sessions, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) return;
  if (write(file, line, length) < 0) perror(accounts->sessions);
  close(file);
}

OPENVPN_EXPORT int openvpn_plugin_func_v1(openvpn_plugin_handle_t handle, const int type, const char *argv[],
                                          const char *envp[]) {
  (void)argv;
  const struct accounts *accounts = handle;
  const char *const *given = (const char *const *)envp;
  if (type == OPENVPN_PLUGIN_AUTH_USER_PASS_VERIFY)
    return may_log_in(accounts, given) ? OPENVPN_PLUGIN_FUNC_SUCCESS : OPENVPN_PLUGIN_FUNC_ERROR;
  note(accounts, type == OPENVPN_PLUGIN_CLIENT_CONNECT ? "connect" : "disconnect", value("username", given));
  return OPENVPN_PLUGIN_FUNC_SUCCESS;
}

OPENVPN_EXPORT void openvpn_plugin_close_v1(openvpn_plugin_handle_t handle) { free(handle); }
