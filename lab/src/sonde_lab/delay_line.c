// A wide area network between pairs of TUN devices: every packet is held for its path's delay, and how long it
// truly was held is recorded. One process serves all lines.
//
// usage: delay_line PLAN      PLAN holds, in words separated by blanks, a line each:
//   line  CORE_NETNS CORE_DEVICE PLACE_NETNS PLACE_DEVICE RECORD_FILE
//   path  LINE PATH IPV4 IPV6 DELAY_US    one way, for what comes from or goes to this address on the core's side
// Lines and paths count from 0; path 0 serves addresses that no path names. Prints "ready" when all devices are there.
// A record file begins with `struct head`, then `CAPACITY` times `struct record`, the oldest overwritten.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum {
  LINES = 64,
  PATHS = 16,
  WAITING = 32768,     // 250 ms of 1500-byte packets at 1.5 Gbit/s
  CAPACITY = 1 << 17,  // 2 MiB a line, sparse until used; 13 s at 10 000 packets/s
  LARGEST = 2048,
  AT_ONCE = 64,        // packets read from one device before the others have their turn
};

struct record {
  uint64_t at_ns;  // UTC, when it came in
  uint32_t delay_ns;
  uint16_t bytes;
  uint8_t down;  // 0 = from the core to the place, 1 = back
  uint8_t path;
};
struct total {
  uint64_t passed, bytes, dropped;
};
struct head {
  char magic[8];
  uint64_t capacity, written;
  struct total totals[2][PATHS];
  char rest[4096 - 24 - sizeof(struct total) * 2 * PATHS];
};
struct path {
  uint8_t v4[4], v6[16];
  uint64_t delay_ns;
};
struct line {
  int fd[2];  // the core's device, the place's
  struct head *head;
  struct record *records;
  struct path paths[PATHS];
  int count;
};
struct packet {
  uint64_t due_ns, in_ns, at_ns, order;
  int length;
  uint8_t line, down, path;
  uint8_t data[LARGEST];
};

static struct line lines[LINES];
static int line_count;
static struct packet *pool;
static int heap[WAITING], heap_size, unused[WAITING], unused_count;
static uint64_t order;

static void fail(const char *what) {
  fprintf(stderr, "delay_line: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t now(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int sooner(int a, int b) {
  return pool[a].due_ns < pool[b].due_ns || (pool[a].due_ns == pool[b].due_ns && pool[a].order < pool[b].order);
}

static void push(int packet) {
  int at = heap_size++;
  while (at && sooner(packet, heap[(at - 1) / 2])) {
    heap[at] = heap[(at - 1) / 2];
    at = (at - 1) / 2;
  }
  heap[at] = packet;
}

static int pop(void) {
  int first = heap[0], last = heap[--heap_size], at = 0;
  for (int child; (child = 2 * at + 1) < heap_size; at = child) {
    if (child + 1 < heap_size && sooner(heap[child + 1], heap[child])) child++;
    if (!sooner(heap[child], last)) break;
    heap[at] = heap[child];
  }
  heap[at] = last;
  return first;
}

static int device(const char *netns, const char *name) {
  int file = open(netns, O_RDONLY | O_CLOEXEC);
  if (file < 0 || setns(file, CLONE_NEWNET)) fail(netns);
  close(file);
  if ((file = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)) < 0) fail("/dev/net/tun");
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  if (ioctl(file, TUNSETIFF, &request)) fail(name);
  return file;
}

static void records(struct line *line, const char *name) {
  size_t size = sizeof(struct head) + CAPACITY * sizeof(struct record);
  int file = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0 || ftruncate(file, size)) fail(name);
  line->head = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (line->head == MAP_FAILED) fail(name);
  close(file);
  line->records = (struct record *)(line->head + 1);
  line->head->capacity = CAPACITY;
  memcpy(line->head->magic, "SONDELIN", 8);
}

static void read_plan(const char *name) {
  FILE *plan = fopen(name, "r");
  if (!plan) fail(name);
  char core[256], core_device[32], place[256], place_device[32], file[1024], v4[64], v6[64];
  int at, index;
  unsigned long delay_us;
  char word[16];
  while (fscanf(plan, "%15s", word) == 1) {
    if (!strcmp(word, "line") && line_count < LINES &&
        fscanf(plan, "%255s %31s %255s %31s %1023s", core, core_device, place, place_device, file) == 5) {
      struct line *line = &lines[line_count++];
      line->fd[0] = device(core, core_device);
      line->fd[1] = device(place, place_device);
      records(line, file);
    } else if (!strcmp(word, "path") && fscanf(plan, "%d %d %63s %63s %lu", &at, &index, v4, v6, &delay_us) == 5 &&
               at >= 0 && at < line_count && index == lines[at].count && index < PATHS) {
      struct path *path = &lines[at].paths[lines[at].count++];
      inet_pton(AF_INET, v4, path->v4);
      inet_pton(AF_INET6, v6, path->v6);
      path->delay_ns = delay_us * 1000ull;
    } else {
      errno = EINVAL;
      fail(name);
    }
  }
  fclose(plan);
}

static int path_of(const struct line *line, const uint8_t *data, int length, int down) {
  if (length >= 20 && data[0] >> 4 == 4) {
    for (int i = 0; i < line->count; i++)
      if (!memcmp(line->paths[i].v4, data + (down ? 16 : 12), 4)) return i;
  } else if (length >= 40 && data[0] >> 4 == 6) {
    for (int i = 0; i < line->count; i++)
      if (!memcmp(line->paths[i].v6, data + (down ? 24 : 8), 16)) return i;
  }
  return 0;
}

static void take_in(int at, int down) {
  struct line *line = &lines[at];
  for (int turn = 0; turn < AT_ONCE; turn++) {
    static uint8_t spare[LARGEST];
    int full = !unused_count, slot = full ? -1 : unused[unused_count - 1];
    uint8_t *data = full ? spare : pool[slot].data;
    int length = read(line->fd[down], data, LARGEST);
    if (length <= 0) return;
    int path = path_of(line, data, length, down);
    if (full) {
      line->head->totals[down][path].dropped++;
      continue;
    }
    unused_count--;
    struct packet *packet = &pool[slot];
    packet->in_ns = now(CLOCK_MONOTONIC);
    packet->at_ns = now(CLOCK_REALTIME);
    packet->due_ns = packet->in_ns + line->paths[path].delay_ns;
    packet->order = order++;
    packet->length = length;
    packet->line = at;
    packet->down = down;
    packet->path = path;
    push(slot);
  }
}

static void let_out(int slot) {
  struct packet *packet = &pool[slot];
  struct line *line = &lines[packet->line];
  struct total *total = &line->head->totals[packet->down][packet->path];
  if (write(line->fd[!packet->down], packet->data, packet->length) < 0) {
    total->dropped++;  // the device is down
  } else {
    struct record *record = &line->records[line->head->written % CAPACITY];
    record->at_ns = packet->at_ns;
    record->delay_ns = now(CLOCK_MONOTONIC) - packet->in_ns;
    record->bytes = packet->length;
    record->down = packet->down;
    record->path = packet->path;
    __atomic_store_n(&line->head->written, line->head->written + 1, __ATOMIC_RELEASE);
    total->passed++;
    total->bytes += packet->length;
  }
  unused[unused_count++] = slot;
}

int main(int count, char **words) {
  if (count != 2) return 2;
  read_plan(words[1]);
  pool = calloc(WAITING, sizeof *pool);
  if (!pool) fail("memory");
  while (unused_count < WAITING) {
    unused[unused_count] = WAITING - 1 - unused_count;
    unused_count++;
  }
  prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
  struct sched_param priority = {.sched_priority = 50};
  sched_setscheduler(0, SCHED_FIFO, &priority);  // refused to an ordinary user: then a little later, and recorded
  struct pollfd files[2 * LINES];
  for (int i = 0; i < 2 * line_count; i++) files[i] = (struct pollfd){lines[i / 2].fd[i % 2], POLLIN, 0};
  puts("ready");
  fflush(stdout);
  for (;;) {
    struct timespec wait, *until = NULL;
    if (heap_size) {
      uint64_t at = now(CLOCK_MONOTONIC), due = pool[heap[0]].due_ns, left = due > at ? due - at : 0;
      wait = (struct timespec){left / 1000000000, left % 1000000000};
      until = &wait;
    }
    int events = ppoll(files, 2 * line_count, until, NULL);
    while (heap_size && pool[heap[0]].due_ns <= now(CLOCK_MONOTONIC)) let_out(pop());
    for (int i = 0; i < 2 * line_count && events > 0; i++) {
      if (files[i].revents & POLLERR) fail("a device is gone");
      if (files[i].revents & POLLIN) take_in(i / 2, i % 2);
    }
  }
}
