/* SPDX-License-Identifier: Apache-2.0
 *
 * The end of a record. Its beginning is in admission.c.
 */
#include "daemon/serve/record.h"

#include <stdlib.h>

void record_destroy(struct record *record) {
    if (!record)
        return;
    charge_give_back(&record->queued);
    charge_give_back(&record->memory);
    charge_give_back(&record->unanswered);
    if (!record->slot)
        free(record->data);
    free(record);
}
