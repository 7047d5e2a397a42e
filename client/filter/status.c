/* SPDX-License-Identifier: Apache-2.0
 *
 * --status and --stop.
 */
#include "client/filter/status.h"

#include "client/filter/autostart.h"
#include "client/filter/output/text.h"
#include "client/filter/report.h"
#include "client/filter/verbs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

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
        if (size > 0)
            fwrite(escape, 1, size, stdout);
        else
            putchar(byte);
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
    char text[256] = "";
    int result = ESM1NV_ERROR_CONNECT;
    if (!options->model_named)
        result = question(options->socket, audience, text);
    if (result == ESM1NV_ERROR_CONNECT && options->model) {
        struct private_daemon daemon = {.child = 0};
        int located = private_locate(&daemon, options->model);
        if (located < 0)
            return -located;
        result = question(daemon.socket, audience, text);
    }
    return result < 0 ? report_daemon_error(result, text) : EX_OK;
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

static int status_show(const struct options *options) {
    struct listing listing = {.json = options->status_json};
    int result = status_visit(options, list, &listing);
    if (result == EX_OK && listing.json)
        puts(listing.begun ? "}" : "{}");
    return result;
}

static int status_stop(const struct options *options) {
    return ask(options, NULL, ask_to_stop);
}

const struct verb verb_status = {.run = status_show, .refuses_files = true};
const struct verb verb_stop = {.run = status_stop, .refuses_files = true};
