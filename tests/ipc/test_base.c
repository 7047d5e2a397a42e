/* SPDX-License-Identifier: Apache-2.0
 *
 * The small things that both sides share: a growing ring keeps its items wherever they lie in it,
 * and no control character is left in a text.
 */
#include "ipc/base/fifo.h"
#include "ipc/base/text.h"
#include "tests/check.h"

struct item {
    uint64_t number;
    char more[5];
};

static struct item *item_at(const struct fifo *fifo, uint64_t number) {
    return fifo_at(fifo, number, sizeof(struct item));
}

static unsigned count_wrong(const struct fifo *fifo, uint64_t first, uint64_t last) {
    unsigned wrong = 0;
    for (uint64_t i = first; i != last; i++)
        wrong += item_at(fifo, i)->number != ~i || item_at(fifo, i)->more[4] != (char)i;
    return wrong;
}

/* Items are taken as others are put, so that growth finds them wrapped around the end. */
static void test_growth(uint64_t start) {
    static const struct item null_item;
    struct fifo fifo = {0};
    uint64_t first = start, last = start;

    while (last - first < 1000) {
        if (last - first == fifo.count) {
            uint64_t count = fifo.count;
            CHECK(fifo_grow(&fifo, first, 4, sizeof(struct item)) == 0, "growth");
            CHECK(fifo.count == (count > 0 ? 2 * count : 4), "%d slots", (int)fifo.count);
            CHECK(count_wrong(&fifo, first, last) == 0, "items at %d slots", (int)fifo.count);
            for (uint64_t i = last; i != first + fifo.count; i++)
                CHECK(memcmp(item_at(&fifo, i), &null_item, sizeof null_item) == 0, "a new slot");
        }
        *item_at(&fifo, last) = (struct item){.number = ~last, .more = {0, 0, 0, 0, (char)last}};
        last++;
        first += last % 3 == 0;
    }
    CHECK(count_wrong(&fifo, first, last) == 0, "items");
    free(fifo.slots);
}

TEST("control characters become question marks, and nothing else does") {
    char text[257];

    for (unsigned i = 0; i < sizeof text; i++)
        text[i] = (char)i;
    text_make_printable(text, 256);
    for (unsigned i = 0; i < 256; i++) {
        char wanted = i < 32 || i == 127 ? '?' : (char)i;
        CHECK(text[i] == wanted, "byte %u became %d", i, text[i]);
    }
    CHECK(text[256] == 0, "a byte behind the text changed");
}

int main(void) {
    test_case("a ring that grows keeps its items");
    test_growth(0);
    test_growth(3);
    test_growth(UINT64_MAX - 20);
    test_run();
    return test_done();
}
