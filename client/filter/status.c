/* SPDX-License-Identifier: Apache-2.0
 *
 * --status and --stop: where the daemon is looked for, and how its answer is shown.
 */
#include "client/filter/autostart.h"
#include "client/filter/output/text.h"
#include "client/filter/report.h"
#include "client/filter/verbs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

/* How facts are shown: as a table, or as one JSON object on one line. */
struct listing {
    bool json;
    bool begun;
};

/* Escapes what text_escape() does in ASCII; other bytes pass as they are, UTF-8 or not. */
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
            return; /* the daemon has nothing to say here */
        printf("%-18s ", name);
        text ? (void)puts(text) : (void)printf("%" PRIu64 "\n", number);
        return;
    }
    printf("%s\"%s\":", listing->begun ? "," : "{", name);
    listing->begun = true;
    text ? print_json_text(text) : (void)printf("%" PRIu64, number);
}

static int ask_at(const char *socket, fact_visitor *visit, void *context, char text[256]) {
    return visit ? esm1nv_status(socket, visit, context, text) : esm1nv_stop(socket, text);
}

/* Asks at the usual places, then the private daemon; with --model only that. */
int status_ask(const struct options *options, fact_visitor *visit, void *context) {
    char text[256] = "";
    int result = ESM1NV_ERROR_CONNECT;
    if (!options->model_named)
        result = ask_at(options->socket, visit, context, text);
    if (result == ESM1NV_ERROR_CONNECT && options->model) {
        struct private_daemon daemon = {.child = 0};
        int located = private_locate(&daemon, options->model);
        if (located < 0)
            return -located;
        result = ask_at(daemon.socket, visit, context, text);
    }
    return result < 0 ? report_daemon_error(result, text) : EX_OK;
}

static int status_show(const struct options *options) {
    struct listing listing = {.json = options->status_json};
    int result = status_ask(options, list, &listing);
    if (result == EX_OK && listing.json)
        puts(listing.begun ? "}" : "{}");
    return result;
}

static int status_stop(const struct options *options) {
    return status_ask(options, NULL, NULL);
}

const struct verb verb_status = {.run = status_show, .refuses_files = true};
const struct verb verb_stop = {.run = status_stop, .refuses_files = true};
