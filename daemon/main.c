/* SPDX-License-Identifier: Apache-2.0
 *
 * esm1nvd: parses the options, listens, loads the model, and serves. It listens before it loads, so
 * that clients can wait in the kernel's queue and are answered even when the load fails.
 */
#include "daemon/serve/generation.h"
#include "daemon/serve/listener.h"
#include "daemon/base/log.h"
#include "daemon/options.h"
#include "daemon/server.h"
#include "daemon/serve/status.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

/* More descriptors than any limit on clients can need. */
#define OPEN_FILES_MAX 262144u

static void raise_open_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max < OPEN_FILES_MAX ? limit.rlim_max : OPEN_FILES_MAX;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static int load_first(struct generation **generation, const struct options *options,
                      struct error *error) {
    *generation = NULL;
    if (!options->load.model)
        return error_set(error, EX_CONFIG,
                         "no model: give --model FILE.nemo or set ESM1NV_MODEL; --model synthetic "
                         "fabricates weights for trying the software");
    sd_notifyf(0, "STATUS=Loading %s", options->load.model);
    if (generation_load(generation, &options->load, &options->limits, error) < 0)
        return -1;
    generation_warn(*generation);
    return 0;
}

static int act_check(const struct options *options, struct error *error) {
    struct generation *generation;
    int result = load_first(&generation, options, error);
    if (result == 0 && status_print_check(stdout, generation->model, generation->info) < 0)
        result = error_set(error, EX_IOERR, "standard output: write error");
    generation_close(generation);
    return result;
}

/* Ends the process without cleaning up when threads are stuck, in close() of a descriptor that a
 * client passed or in a load: they use memory that cleaning up would free. The socket and its lock
 * have been given up before, so that another daemon can start at once. */
static void leave_now(int result, const struct error *error) {
    if (result < 0)
        log_error("%s", error->text);
    _exit(result < 0 ? error->status : EX_OK);
}

static int serve(struct generation *generation, struct listener *listener,
                 const struct options *options, struct error *error) {
    struct server *server;
    if (server_create(&server, listener, generation, options, error) < 0)
        return -1;
    int result = server_run(server, error);
    listener_close(listener); /* first, because clients that are hung up on look for another one */
    if (!server_destroy(server))
        leave_now(result, error);
    return result;
}

static int act_run(const struct options *options, struct error *error) {
    struct generation *generation;
    struct listener listener;
    server_block_signals();
    if (!options->load.model)
        return load_first(&generation, options, error);
    if (listener_open(&listener, options->socket, options->group, error) < 0)
        return -1;
    int result = load_first(&generation, options, error);
    if (result == 0)
        result = serve(generation, &listener, options, error);
    else
        listener_refuse_all(&listener, WIRE_REFUSED_LOAD, error->text);
    listener_close(&listener);
    return result;
}

static int act(const struct options *options, struct error *error) {
    signal(SIGPIPE, SIG_IGN);
    log_init(options->log_level);
    raise_open_files();
    switch (options->action) {
    case OPTIONS_HELP:
        daemon_options_help();
        return ferror(stdout) || fflush(stdout) != 0;
    case OPTIONS_VERSION:
        return printf("esm1nvd %s\n", ESM1NV_VERSION) < 0 || fflush(stdout) != 0;
    case OPTIONS_CHECK:
        return act_check(options, error);
    case OPTIONS_RUN:
        return act_run(options, error);
    }
    return 0;
}

int main(int argc, char **argv) {
    struct options options;
    struct error error = {0};
    log_init(LOG_LEVEL_INFO);
    int result = daemon_options_parse(&options, argc, argv, &error);
    if (result == 0)
        result = act(&options, &error);
    if (result < 0)
        log_error("%s", error.text);
    return result < 0 ? error.status : result ? EX_IOERR : EX_OK;
}
