/* SPDX-License-Identifier: Apache-2.0
 *
 * esm1nvd: options, listen, load, engine, READY, serve. It listens before it loads, so that clients
 * queue in the kernel meanwhile and are answered in any case.
 */
#include "daemon/engine.h"
#include "daemon/listener.h"
#include "daemon/log.h"
#include "daemon/model/model.h"
#include "daemon/notify.h"
#include "daemon/options.h"
#include "daemon/server.h"
#include "daemon/status.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

/* More descriptors than any limit on clients can need. */
#define OPEN_FILES_MAX 262144u

struct program {
    struct options options;
    struct model *model;
    const struct engine_table *table;
    struct engine *engine;
};

static void raise_open_files(void) {
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max < OPEN_FILES_MAX ? limit.rlim_max : OPEN_FILES_MAX;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* Signals that end the daemon are read from a descriptor; every thread inherits this. */
static void block_signals(void) {
    sigset_t signals;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
}

/* Limits that only make sense with the model's size known. */
static int check_limits(struct program *program, struct error *error) {
    const struct options *options = &program->options;
    uint32_t positions = program->model->config.positions;

    if (options->max_batch_residues && options->max_batch_residues < positions)
        return error_set(error, EX_USAGE,
                         "--max-batch-residues: %u is less than one sequence of this model (%u)",
                         options->max_batch_residues, positions);
    if (options->limits.queued_per_user < positions)
        return error_set(error, EX_USAGE,
                         "--max-queued-per-user: %llu is less than one sequence of this model (%u)",
                         (unsigned long long)options->limits.queued_per_user, positions);
    return 0;
}

static int open_engine(struct program *program, struct error *error) {
    struct engine_options options = {
        .precision = program->options.precision,
        .threads = program->options.threads,
        .devices = program->options.devices,
        .max_batch_tokens = program->options.max_batch_residues,
    };
    char note[ENGINE_NOTE_MAX];

    if (engine_open(&program->table, &program->engine, program->options.backend, program->model,
                    &options, note, error) < 0)
        return -1;
    if (note[0])
        log_warning("%s", note);
    model_drop_weights(program->model);
    return 0;
}

static int load(struct program *program, struct error *error) {
    const char *name = program->options.model;

    if (!name)
        return error_set(error, EX_CONFIG,
                         "no model: give --model FILE.nemo or set ESM1NV_MODEL; --model synthetic "
                         "fabricates weights for trying the software");
    notify_status("Loading %s", name);
    if (model_open(&program->model, name, error) < 0 || check_limits(program, error) < 0 ||
        open_engine(program, error) < 0)
        return -1;
    if (program->model->synthetic)
        log_warning("the weights of %s are fabricated: its embeddings carry no biology",
                    program->model->name);
    return 0;
}

static void unload(struct program *program) {
    if (program->engine)
        program->table->close(program->engine);
    model_destroy(program->model);
}

static int check(struct program *program, struct error *error) {
    if (load(program, error) < 0)
        return -1;
    if (status_print_check(stdout, program->model, program->table->info(program->engine)) < 0)
        return error_set(error, EX_IOERR, "standard output: write error");
    return 0;
}

static void announce(const struct program *program, const struct listener *listener,
                     const struct server *server) {
    const struct engine_info *info = program->table->info(program->engine);

    log_info("serving %s on %s (%s %s, %s, %u thread%s, %s)", program->model->name, listener->path,
             info->backend, info->precision, info->instructions, info->threads,
             info->threads == 1 ? "" : "s", server_loop_name(server));
    notify_status("Serving %s (%s %s, %s, %u threads, %s)", program->model->name, info->backend,
                  info->precision, info->instructions, info->threads, server_loop_name(server));
    notify_ready();
}

/* What was asked for, or what the engine finds good; one record always fits. */
static uint32_t batch_tokens(const struct program *program) {
    uint32_t tokens = program->table->info(program->engine)->batch_tokens;
    uint32_t positions = program->model->config.positions;

    if (program->options.max_batch_residues)
        return program->options.max_batch_residues;
    return tokens > positions ? tokens : positions;
}

static int serve(struct program *program, struct listener *listener, struct error *error) {
    struct server_options options = {
        .limits = program->options.limits,
        .batch_tokens = batch_tokens(program),
        .idle_exit = program->options.idle_exit,
    };
    struct server *server;
    int result;

    if (server_create(&server, listener, program->model, program->table, program->engine, &options,
                      error) < 0)
        return -1;
    announce(program, listener, server);
    result = server_run(server, error);
    listener_close(listener); /* before the clients are hung up on: they may look for another */
    server_destroy(server);
    return result;
}

static int run(struct program *program, struct error *error) {
    struct listener listener;
    int result;

    if (!program->options.model)
        return load(program, error);
    if (listener_open(&listener, program->options.socket, program->options.group, error) < 0)
        return -1;
    result = load(program, error);
    if (result == 0)
        result = serve(program, &listener, error);
    else
        listener_refuse_all(&listener, WIRE_REFUSED_LOAD, error->text);
    listener_close(&listener);
    return result;
}

int main(int argc, char **argv) {
    struct program program = {0};
    struct error error = {0};
    int result;

    log_init(LOG_LEVEL_INFO);
    result = options_parse(&program.options, argc, argv, &error);
    if (result == 0) {
        log_init(program.options.log_level);
        block_signals();
        raise_open_files();
        switch (program.options.action) {
        case OPTIONS_HELP:
            result = fputs(options_help, stdout) < 0 || fflush(stdout) != 0;
            break;
        case OPTIONS_VERSION:
            result = printf("esm1nvd %s\n", ESM1NV_VERSION) < 0 || fflush(stdout) != 0;
            break;
        case OPTIONS_CHECK:
            result = check(&program, &error);
            break;
        case OPTIONS_RUN:
            result = run(&program, &error);
            break;
        }
        unload(&program);
    }
    if (result < 0)
        log_error("%s", error.text);
    return result < 0 ? error.status : result ? EX_IOERR : EX_OK;
}
