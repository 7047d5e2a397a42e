/* SPDX-License-Identifier: Apache-2.0
 *
 * Honest clients, one after the other: come_and_go SOCKET COUNT. In turn they only connect, ask for
 * one record by message, or stream some through a ring; every third leaves without its results.
 */
#include "client/esm1nv.h"

#include <stdio.h>
#include <stdlib.h>

#define SEQUENCE "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVKVKALPDAQFEVV"

static int take_all(esm1nv_session *session) {
    struct esm1nv_result result;
    int error;

    while ((error = esm1nv_next(session, &result, -1)) == 0) {
        if (result.status != ESM1NV_RECORD_OK)
            return -1;
        esm1nv_release(session, &result);
    }
    return error == ESM1NV_END ? 0 : error;
}

static int visit(const char *socket, unsigned number) {
    struct esm1nv_options options = ESM1NV_OPTIONS_INIT;
    static const unsigned records[] = {0, 1, 20};
    esm1nv_session *session;
    int error;

    options.socket = socket;
    options.pooling = number % 4 == 3 ? ESM1NV_POOL_NONE : ESM1NV_POOL_MEAN;
    error = esm1nv_connect(&session, &options);
    for (unsigned i = 0; error == 0 && i < records[number % 3]; i++)
        error = esm1nv_submit(session, i, SEQUENCE, sizeof SEQUENCE - 1);
    if (error == 0 && number / 3 % 3)
        error = take_all(session);
    if (error < 0)
        fprintf(stderr, "client %u: %s\n", number, esm1nv_error_text(session));
    esm1nv_close(session);
    return error < 0 ? -1 : 0;
}

int main(int argc, char **argv) {
    unsigned count = argc == 3 ? (unsigned)atoi(argv[2]) : 0;

    for (unsigned i = 0; i < count; i++)
        if (visit(argv[1], i) < 0)
            return 1;
    return 0;
}
