/* SPDX-License-Identifier: Apache-2.0
 *
 * --status and --stop, and what the library's errors mean for the exit status.
 */
#include "client/filter/autostart.h"
#include "client/filter/output/text.h"
#include "client/filter/verbs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

int daemon_error(int code, const char *text) {
    switch (code) {
    case ESM1NV_ERROR_CONNECT:
        report("%s (esm1nvd --model FILE.nemo, or --socket PATH)", text);
        return EX_UNAVAILABLE;
    case ESM1NV_ERROR_BUSY:
        report("%s; try again later", text);
        return EX_TEMPFAIL;
    case ESM1NV_ERROR_LOST:
        report("%s; run again for what did not come out", text);
        return EX_TEMPFAIL;
    case ESM1NV_ERROR_MODEL:
    case ESM1NV_ERROR_REFUSED:
        report("%s; 'esm1nv --status' shows what the daemon serves", text);
        return EX_CONFIG;
    default:
        report("%s", text);
        return EX_SOFTWARE;
    }
}

/* Facts as they are told: for a table, or for one JSON object in one line. */
struct listing {
    bool json;
    bool begun;
};

/* In ASCII only what must be is escaped; bytes beyond it pass as they are, UTF-8 or not. */
static void print_json_text(const char *text) {
    putchar('"');
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        char escape[TEXT_ESCAPE_MAX];
        size_t size = byte < 0x80 ? text_escape(escape, byte) : 0;
        size > 0 ? (void)fwrite(escape, 1, size, stdout) : (void)putchar(byte);
    }
    putchar('"');
}

static void list(void *context, const char *name, const char *text, uint64_t number) {
    struct listing *listing = context;
    if (!listing->json) {
        if (text && !text[0])
            return; /* nothing to say */
        printf("%-18s ", name);
        text ? (void)puts(text) : (void)printf("%" PRIu64 "\n", number);
        return;
    }
    printf("%s\"%s\":", listing->begun ? "," : "{", name);
    listing->begun = true;
    text ? print_json_text(text) : (void)printf("%" PRIu64, number);
}

/* Who is told the facts. */
struct audience {
    fact_visitor *visit;
    void *context;
};

/* Asks where daemons usually are, then the private one; with --model only that. */
static int ask(const struct options *options, const struct audience *audience,
               int (*question)(const char *socket, const struct audience *audience,
                               char text[256])) {
    struct private_daemon daemon = {.child = 0};
    char text[256] = "";
    int code = ESM1NV_ERROR_CONNECT;
    if (!options->model_named)
        code = question(options->socket, audience, text);
    if (code == ESM1NV_ERROR_CONNECT && options->model) {
        int result = private_locate(&daemon, options->model);
        if (result < 0)
            return -result;
        code = question(daemon.socket, audience, text);
    }
    return code < 0 ? daemon_error(code, text) : EX_OK;
}

static int ask_status(const char *socket, const struct audience *audience, char text[256]) {
    return esm1nv_status(socket, audience->visit, audience->context, text);
}

static int ask_to_stop(const char *socket, const struct audience *audience, char text[256]) {
    (void)audience;
    return esm1nv_stop(socket, text);
}

int status_visit(const struct options *options, fact_visitor *visit, void *context) {
    const struct audience audience = {visit, context};
    return ask(options, &audience, ask_status);
}

int status_show(const struct options *options) {
    struct listing listing = {.json = options->status_json};
    int status = status_visit(options, list, &listing);
    if (status == EX_OK && listing.json)
        puts(listing.begun ? "}" : "{}");
    return status;
}

int status_stop(const struct options *options) {
    return ask(options, NULL, ask_to_stop);
}
