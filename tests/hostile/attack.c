/* SPDX-License-Identifier: Apache-2.0
 *
 * Attacks a daemon with many short-lived processes: attack SOCKET SEED COUNT PARALLEL. Attacker i
 * does what SEED + i says; some are killed or stopped by a timer of their own wherever they are.
 * As root they take one of four other uids. The only thing none of them says is STOP, which a
 * daemon of the same uid would rightly obey. Prints how far they got as "NAME COUNT" lines.
 */
#include "hostile.h"
#include "ipc/ring.h"
#include "tests/lib/descriptors.h"
#include "tests/lib/random.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LIFE_SECONDS 5 /* of an attacker that would never end by itself */
#define STOPPED_MAX 8  /* attackers that stand still at a time */
#define FIRST_UID 61001
#define UIDS 4

enum progress { STARTED, CONNECTED, WELCOMED, RINGS, RESULTS, STOPPED, KILLED, PROGRESS_COUNT };
static const char *const progress_names[] = {"started", "connected", "welcomed", "rings",
                                             "results", "stopped",   "killed"};

struct attacker {
    const char *path;
    uint16_t port;
    uint64_t random;
    int fd;
    uint32_t submission_size, completion_size;
    int ring_fd;
    uint8_t *ring; /* mapped, or NULL */
    _Atomic unsigned *progress;
};

static uint64_t below(struct attacker *attacker, uint64_t bound) {
    return random_below(&attacker->random, bound);
}

static void pause_microseconds(uint64_t microseconds) {
    nanosleep(&(struct timespec){.tv_sec = 0, .tv_nsec = (long)microseconds * 1000}, NULL);
}

static void fill_sequence(struct attacker *attacker, uint8_t *residues, size_t length) {
    for (size_t i = 0; i < length; i++)
        residues[i] = (uint8_t) "LASGVERTDIPKNFQYHMCWXBZUO"[below(attacker, 25)];
}

static void write_hello(struct attacker *attacker, struct letter *letter) {
    begin(letter, WIRE_HELLO);
    put_number(letter, WIRE_PROTOCOL_VERSION, WIRE_PROTOCOL);
    put_bytes(letter, WIRE_PROGRAM, TEXT, "attacker \033[2J", 13);
    put_number(letter, WIRE_POOLING, below(attacker, 4));
    put_number(letter, WIRE_DTYPE, below(attacker, 2));
}

static void write_submit(struct attacker *attacker, struct letter *letter) {
    uint8_t residues[512];
    size_t length = 1 + below(attacker, sizeof residues);

    fill_sequence(attacker, residues, length);
    begin(letter, WIRE_SUBMIT);
    put_number(letter, WIRE_TAG, random_bits(&attacker->random));
    put_bytes(letter, WIRE_SEQUENCE, BYTES, residues, length);
}

static void write_ring(struct attacker *attacker, struct letter *letter) {
    begin(letter, WIRE_RING);
    put_number(letter, WIRE_SUBMISSION_SIZE, attacker->submission_size);
    put_number(letter, WIRE_COMPLETION_SIZE, attacker->completion_size);
}

/* A message of the protocol, well formed, at whatever time. */
static void write_any(struct attacker *attacker, struct letter *letter) {
    switch (below(attacker, 6)) {
    case 0:
        write_hello(attacker, letter);
        return;
    case 1:
        write_ring(attacker, letter);
        return;
    case 2:
        begin(letter, WIRE_STATUS_QUERY);
        put_number(letter, WIRE_PROTOCOL_VERSION, WIRE_PROTOCOL);
        return;
    case 3:
        letter->bytes[0] = WIRE_BELL;
        letter->size = 1;
        return;
    case 4: /* a daemon's own words */
        begin(letter, WIRE_RESULT);
        put_number(letter, WIRE_TAG, 1);
        put_number(letter, WIRE_RECORD_STATUS, 0);
        put_number(letter, WIRE_ROWS, 1);
        put_bytes(letter, WIRE_DATA, BYTES, "datadata", 8);
        return;
    default:
        write_submit(attacker, letter);
    }
}

/* Flips, cuts and stretches. */
static void mutate(struct attacker *attacker, struct letter *letter) {
    for (uint64_t flips = below(attacker, 6); flips > 0; flips--)
        letter->bytes[below(attacker, letter->size)] ^= (uint8_t)(1u << below(attacker, 8));
    if (below(attacker, 3) == 0)
        letter->size = 1 + below(attacker, letter->size);
    if (below(attacker, 8) == 0)
        letter->size += below(attacker, sizeof letter->bytes - letter->size);
    for (unsigned i = 3; i < 14 && i < letter->size; i++)
        if (letter->bytes[i] == WIRE_STOP)
            letter->bytes[i] = WIRE_STATUS_QUERY;
}

/* Sends a message with descriptors, which are closed then. Returns whether it went. */
static bool send_with(struct attacker *attacker, const struct letter *letter, const int *fds,
                      unsigned count) {
    bool sent =
        descriptors_send(attacker->fd, letter->bytes, letter->size, fds, count, MSG_DONTWAIT) >= 0;

    for (unsigned i = 0; i < count; i++) {
        if (!sent) /* or this process would wait for what it meant the daemon to wait for */
            setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &(struct linger){0}, sizeof(struct linger));
        close(fds[i]);
    }
    return sent;
}

static bool send_letter(struct attacker *attacker, const struct letter *letter) {
    return send_with(attacker, letter, NULL, 0);
}

static bool send_bell(struct attacker *attacker) {
    return send(attacker->fd, (uint8_t[]){WIRE_BELL}, 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1;
}

static bool attack_connect(struct attacker *attacker) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof address.sun_path, "%s", attacker->path);
    attacker->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (connect(attacker->fd, (struct sockaddr *)&address, sizeof address) < 0)
        return false;
    attacker->progress[CONNECTED]++;
    return true;
}

/* Says HELLO and waits for the answer; whether it was WELCOME. */
static bool attack_hello(struct attacker *attacker) {
    struct letter letter;
    uint8_t answer[WIRE_MESSAGE_MAX];

    write_hello(attacker, &letter);
    if (!send_letter(attacker, &letter) || recv(attacker->fd, answer, sizeof answer, 0) < 6 ||
        answer[4] != WIRE_WELCOME) /* behind the map's head and the key 0 */
        return false;
    attacker->progress[WELCOMED]++;
    return true;
}

static size_t shared_bytes(const struct attacker *attacker) {
    return RING_PAGE + attacker->submission_size + (size_t)attacker->completion_size;
}

static bool attach(struct attacker *attacker) {
    size_t size = shared_bytes(attacker);
    struct letter letter;

    attacker->ring_fd = memfd(size, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL, 0);
    attacker->ring = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, attacker->ring_fd, 0);
    if (attacker->ring == MAP_FAILED)
        return false;
    write_ring(attacker, &letter);
    if (!send_with(attacker, &letter, &(int){dup(attacker->ring_fd)}, 1))
        return false;
    attacker->progress[RINGS]++;
    return true;
}

/* Submits up to `most` records of `least` residues and more from `tail` on, as far as they fit
 * before the end of the ring; returns the new tail. */
static uint64_t submit_records(struct attacker *attacker, uint64_t tail, uint64_t most,
                               uint32_t least, uint32_t more) {
    struct ring_header *header = (struct ring_header *)(void *)attacker->ring;

    for (; most > 0; most--) {
        struct ring_submission record = {.tag = tail,
                                         .length = least + (uint32_t)below(attacker, more)};
        uint64_t offset = tail & (attacker->submission_size - 1);
        uint8_t *place = attacker->ring + RING_PAGE + offset;

        if (offset + record.length + 32 > attacker->submission_size)
            break;
        memcpy(place, &record, sizeof record);
        fill_sequence(attacker, place + sizeof record, record.length);
        tail += (sizeof record + record.length + 15) & ~UINT64_C(15);
    }
    atomic_store(&header->submission.tail, tail);
    return tail;
}

static uint64_t submit_some(struct attacker *attacker, uint64_t tail) {
    return submit_records(attacker, tail, 1 + below(attacker, 30), 1, 496);
}

/* A ring that is not sealed, and shrinks when it is in use, or a sealed one that is too small. */
static void resize_ring(struct attacker *attacker) {
    static const int seals[] = {0,
                                F_SEAL_SHRINK,
                                F_SEAL_GROW,
                                F_SEAL_SEAL,
                                F_SEAL_GROW | F_SEAL_SEAL,
                                F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL};
    size_t full = shared_bytes(attacker);
    uint64_t kind = below(attacker, sizeof seals / sizeof *seals);
    bool sealed = kind + 1 == sizeof seals / sizeof *seals;
    struct ring_header *header;
    struct letter letter;
    int fd = memfd(sealed ? RING_PAGE : full, seals[kind], 0);

    header = mmap(NULL, RING_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (header == MAP_FAILED || !attack_hello(attacker))
        return;
    if (sealed)
        atomic_store(&header->submission.tail, 4096);
    write_ring(attacker, &letter);
    send_with(attacker, &letter, &(int){dup(fd)}, 1);
    pause_microseconds(below(attacker, 3000));
    if (ftruncate(fd, sealed ? (off_t)full : 0) == 0)
        send_bell(attacker);
}

static void send_garbage(struct attacker *attacker) {
    struct letter letter;

    for (uint64_t count = 1 + below(attacker, 5); count > 0; count--) {
        letter.size = 1 + below(attacker, below(attacker, 4) ? 300 : sizeof letter.bytes);
        for (size_t i = 0; i < letter.size && i < 4096; i++)
            letter.bytes[i] = (uint8_t)random_bits(&attacker->random);
        letter.bytes[4] = 0xC0;
        if (below(attacker, 4) == 0)
            letter.bytes[0] = 0x80 | (uint8_t)below(attacker, 16);
        send_letter(attacker, &letter);
    }
}

/* Sends up to so many messages at whatever time, damaged ones or whole ones as long as they go. */
static void send_any(struct attacker *attacker, unsigned most, bool damaged) {
    struct letter letter;
    bool sent = true;

    if (below(attacker, 2))
        attack_hello(attacker);
    for (uint64_t count = 1 + below(attacker, most); count > 0 && (sent || damaged); count--) {
        write_any(attacker, &letter);
        if (damaged)
            mutate(attacker, &letter);
        sent = send_letter(attacker, &letter);
    }
}

static void send_mutated(struct attacker *attacker) {
    send_any(attacker, 8, true);
}

static void send_out_of_order(struct attacker *attacker) {
    send_any(attacker, 20, false);
}

static void pass_descriptors(struct attacker *attacker) {
    size_t size = shared_bytes(attacker);
    struct letter letter;

    if (below(attacker, 4))
        attack_hello(attacker);
    for (uint64_t messages = 1 + below(attacker, 3); messages > 0; messages--) {
        unsigned count = 1 + (unsigned)below(attacker, below(attacker, 8) ? 2 : 253), made = 0;
        int fds[253];

        while (made < count) {
            fds[made] = hostile_descriptor(&attacker->random, size, attacker->port, attacker->fd);
            if (fds[made] < 0)
                break;
            made++;
            if (made > 4)
                for (; made < count; made++)
                    fds[made] = dup(fds[made - 4]);
        }
        if (below(attacker, 3))
            write_ring(attacker, &letter);
        else
            write_any(attacker, &letter);
        send_with(attacker, &letter, fds, made);
    }
}

static void punch_hole(struct attacker *attacker) {
    size_t size = shared_bytes(attacker);

    fallocate(attacker->ring_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
              (off_t)below(attacker, size / RING_PAGE) * RING_PAGE,
              (off_t)(1 + below(attacker, 8)) * RING_PAGE);
    if (ftruncate(attacker->ring_fd, (off_t)below(attacker, 2 * size)) == 0)
        puts("# a sealed ring could be resized");
}

/* Writes everywhere in the shared pages, the daemon's parts included, while it works there. */
static void scribble(struct attacker *attacker) {
    size_t size = shared_bytes(attacker);
    uint64_t tail = 0;

    if (!attack_hello(attacker) || !attach(attacker))
        return;
    for (uint64_t rounds = 1 + below(attacker, 12); rounds > 0; rounds--) {
        if (below(attacker, 4))
            tail = submit_some(attacker, tail);
        if (below(attacker, 16) == 0) /* one that is longer than any sequence, but wholly there */
            tail = submit_records(attacker, tail, 1, 500, 30000);
        send_bell(attacker);
        for (uint64_t writes = below(attacker, 3000); writes > 0; writes--) {
            uint64_t at = below(attacker, below(attacker, 3) ? size : (uint64_t)512);

            attacker->ring[at] = (uint8_t)random_bits(&attacker->random);
        }
        if (below(attacker, 4) == 0)
            punch_hole(attacker);
    }
}

/* Moves the four indices back, forth, and to where they may not be; flags too. */
static void move_indices(struct attacker *attacker) {
    uint64_t tail = 0;

    if (!attack_hello(attacker) || !attach(attacker))
        return;
    for (uint64_t rounds = 1 + below(attacker, 40); rounds > 0; rounds--) {
        _Atomic uint64_t *index =
            (_Atomic uint64_t *)(void *)(attacker->ring + 64 * below(attacker, 8));
        uint64_t step = below(attacker, 4) ? 16 * below(attacker, 5000) : below(attacker, 1000);

        if (below(attacker, 3) == 0)
            tail = submit_some(attacker, tail);
        if (below(attacker, 10) == 0)
            *index = random_bits(&attacker->random);
        else if (below(attacker, 2))
            *index += step;
        else
            *index -= step;
        send_bell(attacker);
    }
}

/* Asks for more than it ever takes. */
static void never_read(struct attacker *attacker) {
    struct letter letter;
    uint64_t tail = 0;

    if (!attack_hello(attacker))
        return;
    if (below(attacker, 2)) {
        do
            write_submit(attacker, &letter);
        while (send_letter(attacker, &letter) && below(attacker, 40));
        return;
    }
    if (!attach(attacker))
        return;
    for (unsigned round = 0; round < 20; round++) {
        tail = submit_some(attacker, tail);
        send_bell(attacker);
    }
    pause_microseconds(below(attacker, 20000));
}

static void fill_socket(struct attacker *attacker) {
    struct letter letter;

    if (below(attacker, 4) && attack_hello(attacker) && below(attacker, 2))
        attach(attacker);
    write_any(attacker, &letter);
    for (uint64_t count = below(attacker, 3000); count > 0; count--)
        if (!(attacker->ring ? send_bell(attacker) : send_letter(attacker, &letter)))
            pause_microseconds(10);
}

static void connect_often(struct attacker *attacker) {
    uint64_t count = 1 + below(attacker, 60);

    while (count-- > 0 && attack_connect(attacker))
        if (below(attacker, 3) == 0 && !attack_hello(attacker))
            return;
}

static void pass_what_blocks(struct attacker *attacker) {
    struct letter letter;
    int fds[16];
    unsigned made = 0;

    if (below(attacker, 2))
        attack_hello(attacker);
    for (uint64_t count = 1 + below(attacker, 16); count > 0; count--) {
        fds[made] = below(attacker, 8) ? lingering_socket(attacker->port, 30)
                                       : nested_socket(attacker->port, 1);
        if (fds[made] >= 0)
            made++;
    }
    write_ring(attacker, &letter);
    send_with(attacker, &letter, fds, made);
}

/* What an honest client does, until something ends it. */
static void behave(struct attacker *attacker) {
    struct ring_header *header;
    uint64_t tail = 0, taken = 0;

    if (!attack_hello(attacker) || !attach(attacker))
        return;
    header = (struct ring_header *)(void *)attacker->ring;
    for (uint64_t rounds = 1 + below(attacker, 10); rounds > 0; rounds--) {
        tail = submit_some(attacker, tail);
        send_bell(attacker);
        for (uint64_t waits = below(attacker, 100); waits > 0; waits--) {
            pause_microseconds(100);
            if (atomic_load(&header->completion.tail) != taken)
                break;
        }
        if (atomic_load(&header->completion.tail) != taken)
            attacker->progress[RESULTS]++;
        taken = atomic_load(&header->completion.tail);
        atomic_store(&header->completion.head, taken);
    }
}

static void (*const attacks[])(struct attacker *attacker) = {
    send_garbage,     send_mutated, send_out_of_order, pass_descriptors, scribble,
    scribble,         move_indices, never_read,        fill_socket,      connect_often,
    pass_what_blocks, behave,       resize_ring,
};

static void signal_later(struct attacker *attacker, int signal) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = signal};
    struct itimerspec when = {.it_value.tv_nsec = 1 + (long)below(attacker, 8000000)};
    timer_t timer;

    if (timer_create(CLOCK_MONOTONIC, &event, &timer) == 0)
        timer_settime(timer, 0, &when, NULL);
}

static void live(struct attacker *attacker) {
    uid_t uid = FIRST_UID + (uid_t)below(attacker, UIDS);
    uint64_t fate = below(attacker, 16), attack;

    alarm(LIFE_SECONDS);
    if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresuid(uid, uid, uid) < 0))
        return;
    if (fate < 4)
        signal_later(attacker, fate == 0 ? SIGSTOP : SIGKILL);
    attacker->submission_size = RING_SIZE_MIN;
    attacker->completion_size = below(attacker, 8) ? RING_SIZE_MIN : 1u << 20;
    attack = below(attacker, sizeof attacks / sizeof *attacks);
    if (attack_connect(attacker))
        attacks[attack](attacker);
}

/* Waits for one attacker to end. One that stands still stays so until enough others do. */
static void reap(pid_t stopped[STOPPED_MAX], unsigned *next, _Atomic unsigned *progress) {
    int status;
    pid_t pid = waitpid(-1, &status, WUNTRACED);

    if (pid > 0 && WIFSTOPPED(status)) {
        progress[STOPPED]++;
        if (stopped[*next]) {
            kill(stopped[*next], SIGKILL);
            waitpid(stopped[*next], NULL, 0);
        }
        stopped[*next] = pid;
        *next = (*next + 1) % STOPPED_MAX;
    } else if (pid > 0 && WIFSIGNALED(status)) {
        progress[KILLED]++;
    }
}

static void attack_all(const struct attacker *shape, uint64_t seed, unsigned count,
                       unsigned parallel) {
    pid_t stopped[STOPPED_MAX] = {0}, pid;
    unsigned next = 0, running = 0;
    int status;

    for (unsigned i = 0; i < count; i++) {
        struct attacker attacker = *shape;

        attacker.random = seed + i;
        random_bits(&attacker.random);
        pid = fork();
        if (pid == 0) {
            live(&attacker);
            _exit(0);
        }
        if (pid > 0) {
            shape->progress[STARTED]++;
            running++;
        }
        if (running >= parallel) {
            reap(stopped, &next, shape->progress);
            running--;
        }
    }
    for (unsigned i = 0; i < STOPPED_MAX; i++)
        if (stopped[i])
            kill(stopped[i], SIGKILL);
    while ((pid = waitpid(-1, &status, WUNTRACED)) > 0)
        if (WIFSTOPPED(status))
            kill(pid, SIGKILL);
}

int main(int argc, char **argv) {
    struct attacker shape = {.ring_fd = -1};

    if (argc != 5) {
        fprintf(stderr, "usage: attack SOCKET SEED COUNT PARALLEL\n");
        return 64;
    }
    shape.path = argv[1];
    shape.port = unread_port_open();
    shape.progress =
        mmap(NULL, RING_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shape.progress == MAP_FAILED)
        return 71;
    attack_all(&shape, strtoull(argv[2], NULL, 10), (unsigned)atoi(argv[3]),
               (unsigned)atoi(argv[4]));
    for (unsigned i = 0; i < PROGRESS_COUNT; i++)
        printf("%s %u\n", progress_names[i], shape.progress[i]);
    return 0;
}
