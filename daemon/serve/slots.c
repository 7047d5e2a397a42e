/* SPDX-License-Identifier: Apache-2.0
 *
 * Slots: three arrays each, of their own, so that a sanitizer sees where one ends.
 */
#include "daemon/serve/slots.h"

#include <errno.h>
#include <stdlib.h>

/* No record has fewer: <s>, a residue, </s>. */
#define RECORD_TOKENS_MIN 3

static int slot_init(struct slot *slot, uint32_t tokens, unsigned capacity) {
    slot->records = calloc(capacity, sizeof(struct sched_record *));
    slot->items = calloc(capacity, sizeof *slot->items);
    slot->ids = calloc(tokens, sizeof *slot->ids);
    return slot->records && slot->items && slot->ids ? 0 : -ENOMEM;
}

int slots_init(struct slots *slots, unsigned count, uint32_t tokens) {
    *slots = (struct slots){.capacity = tokens / RECORD_TOKENS_MIN + 1};
    slots->list = calloc(count, sizeof *slots->list);

    int result = slots->list ? 0 : -ENOMEM;
    while (result == 0 && slots->count < count)
        result = slot_init(&slots->list[slots->count++], tokens, slots->capacity);
    return result;
}

struct slot *slots_find_free(const struct slots *slots) {
    for (unsigned i = 0; i < slots->count; i++)
        if (!slots->list[i].in_flight)
            return &slots->list[i];
    return NULL;
}

void slots_finish(struct slots *slots) {
    for (unsigned i = 0; i < slots->count; i++) {
        free(slots->list[i].records);
        free(slots->list[i].items);
        free(slots->list[i].ids);
    }
    free(slots->list);
    *slots = (struct slots){0};
}
