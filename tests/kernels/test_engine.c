/* SPDX-License-Identifier: Apache-2.0
 *
 * The whole CPU engine on small models (the arguments): every record gives the same bytes under
 * every instruction set, number of threads, size of batches and company, by rows and by columns, as
 * portable C gives it alone on one thread; pooling is what it says; a record that cannot be
 * embedded fails alone.
 */
#include "daemon/cpu/arithmetic.h"
#include "daemon/cpu/cpu_features.h"
#include "daemon/engine/chooser.h"
#include "tests/check.h"
#include "tests/kernels/random.h"

#include <poll.h>
#include <stdlib.h>
#include <sysexits.h>

#define RECORDS 24
#define TOKENS_MAX 4096

static const uint32_t lengths[RECORDS] = {1,  2,  3,  4,  5,  6,   7,  13,  15, 16,  17, 30,
                                          31, 33, 47, 99, 64, 128, 12, 129, 9,  511, 11, 65};

/* One record: its tokens, all of them residues behind the first. */
struct record {
    uint16_t ids[512];
    uint32_t tokens;
    unsigned char *rows; /* what the reference gave, pooling none */
};

struct company {
    const char *set;
    unsigned threads;
    uint32_t max_tokens, batch_tokens;
    bool backwards;
};

static uint32_t hidden;
static struct record records[RECORDS];

static void records_make(const struct model *model) {
    uint64_t state = 11;
    hidden = model->config.hidden;
    for (int i = 0; i < RECORDS; i++) {
        records[i].tokens = lengths[i];
        for (uint32_t t = 0; t < lengths[i]; t++)
            records[i].ids[t] = (uint16_t)(random_next(&state) % 25);
    }
}

static struct engine *engine_make(const struct model *model, enum precision precision,
                                  const struct company *company) {
    struct engine_options options = {.precision = precision,
                                     .threads = company->threads,
                                     .max_batch_tokens = company->max_tokens};
    struct engine *engine;
    struct error error = {0};
    setenv("ESM1NV_CPU", company->set, 1);
    if (cpu_engine_table.open(&engine, model, &options, &error) < 0)
        CHECK(false, "cannot open the engine: %s", error.text);
    return engine;
}

/* One of two threads for batches of 512 tokens. */
static struct engine *engine_small(const struct model *model, enum precision precision,
                                   enum instruction_set set) {
    struct company company = {instruction_set_name(set), 2, 512, 512, false};
    return engine_make(model, precision, &company);
}

/* Waits until this batch comes back. */
static void batch_await(struct engine *engine, const struct engine_batch *batch) {
    struct pollfd fd = {cpu_engine_table.completion_fd(engine), POLLIN, 0};
    CHECK(poll(&fd, 1, TEST_PATIENCE * 1000) == 1, "no completion");
    CHECK(cpu_engine_table.reap(engine) == batch, "another batch came back");
}

static void batch_run(struct engine *engine, struct engine_batch *batch) {
    struct pollfd fd = {cpu_engine_table.completion_fd(engine), POLLIN, 0};
    cpu_engine_table.submit(engine, batch);
    batch_await(engine, batch);
    CHECK(cpu_engine_table.reap(engine) == NULL && poll(&fd, 1, 0) == 0, "a second completion");
    CHECK(batch->failure[0] == '\0', "the batch failed: %s", batch->failure);
}

static struct engine_item item_make(const struct record *record, uint32_t first_token,
                                    enum pooling pooling, enum dtype dtype) {
    uint32_t first = record->tokens > 1, residues = record->tokens - first;
    size_t bytes = (size_t)(pooling == POOLING_NONE ? residues : 1) * hidden * dtype_size(dtype);
    struct engine_item item = {.first_token = first_token,
                               .tokens = record->tokens,
                               .first_residue = first,
                               .residues = residues,
                               .pooling = pooling,
                               .dtype = dtype,
                               .status = RECORD_ENGINE};
    item.rows = aligned_alloc(64, (bytes + 127) / 64 * 64);
    memset(item.rows, 0x5a, (bytes + 127) / 64 * 64);
    return item;
}

static size_t rows_bytes(const struct record *record) {
    return (size_t)(record->tokens > 1 ? record->tokens - 1 : 1) * hidden * 4;
}

/* The rows of all records, in batches of up to batch_tokens, compared with the reference's, or
 * kept as the reference's. */
static void rows_compare(struct engine *engine, const struct company *company, bool keep) {
    static uint16_t ids[TOKENS_MAX];
    struct engine_item items[RECORDS];
    int at = 0;
    while (at < RECORDS) {
        struct engine_batch batch = {.ids = ids, .items = items};
        struct record *taken[RECORDS];
        for (; at < RECORDS; at++) {
            struct record *record = &records[company->backwards ? RECORDS - 1 - at : at];
            if (batch.count && batch.tokens + record->tokens > company->batch_tokens)
                break;
            memcpy(ids + batch.tokens, record->ids, record->tokens * sizeof(*ids));
            items[batch.count] = item_make(record, batch.tokens, POOLING_NONE, DTYPE_F32);
            taken[batch.count++] = record;
            batch.tokens += record->tokens;
        }
        batch_run(engine, &batch);
        for (uint32_t i = 0; i < batch.count; i++) {
            size_t bytes = rows_bytes(taken[i]);
            const unsigned char *rows = items[i].rows;
            CHECK(items[i].status == RECORD_OK, "status %d", (int)items[i].status);
            CHECK(rows[bytes] == 0x5a && rows[bytes + 63] == 0x5a, "written behind the rows");
            if (keep) {
                taken[i]->rows = items[i].rows;
                continue;
            }
            CHECK(memcmp(rows, taken[i]->rows, bytes) == 0,
                  "%s, %u threads, batches of %u of %u%s: record of %u tokens differs",
                  company->set, company->threads, company->batch_tokens, company->max_tokens,
                  company->backwards ? ", backwards" : "", taken[i]->tokens);
            free(items[i].rows);
        }
    }
}

static void records_forget(void) {
    for (int i = 0; i < RECORDS; i++) {
        free(records[i].rows);
        records[i].rows = NULL;
    }
}

static void reference_make(const struct model *model, enum precision precision) {
    struct company alone = {"generic", 1, 512, 1, false};
    struct engine *engine = engine_make(model, precision, &alone);
    rows_compare(engine, &alone, true);
    cpu_engine_table.close(engine);
}

/* By rows and by columns under every instruction set; all else under the best one. */
static void test_identity(const struct model *model, enum precision precision) {
    static const struct company companies[] = {{NULL, 2, TOKENS_MAX, TOKENS_MAX, false},
                                               {NULL, 2, 512, 180, false},
                                               {NULL, 1, TOKENS_MAX, TOKENS_MAX, false},
                                               {NULL, 1, 512, 200, true},
                                               {NULL, 3, 700, 600, true},
                                               {NULL, 5, TOKENS_MAX, 100, false},
                                               {NULL, 8, TOKENS_MAX, 1, true}};
    for (int set = SET_GENERIC; set <= (int)features_best(); set++)
        for (size_t i = 0; i < (set == (int)features_best() ? 7 : 2); i++) {
            struct company company = companies[i];
            company.set = instruction_set_name((enum instruction_set)set);
            struct engine *engine = engine_make(model, precision, &company);
            rows_compare(engine, &company, false);
            cpu_engine_table.close(engine);
        }
}

/* The pooled row that the reference's rows give. */
static void pool(const struct record *record, enum pooling pooling, float *out) {
    const float *rows = (const float *)(const void *)record->rows;
    uint32_t count = (uint32_t)(rows_bytes(record) / hidden / 4);
    for (uint32_t i = 0; i < hidden; i++) {
        out[i] = rows[i];
        for (uint32_t r = 1; r < count; r++) {
            float x = rows[r * hidden + i];
            out[i] = pooling == POOLING_MEAN ? out[i] + x : (out[i] > x ? out[i] : x);
        }
        if (pooling == POOLING_MEAN)
            out[i] /= (float)count;
    }
}

static void pooled_compare(struct engine *engine, enum pooling pooling, enum dtype dtype) {
    float want[1024];
    for (int i = 0; i < RECORDS; i++) {
        const struct record *record = &records[i];
        struct engine_item item = item_make(record, 0, pooling, dtype);
        struct engine_batch batch = {record->ids, &item, record->tokens, 1, NULL, 0, ""};
        batch_run(engine, &batch);
        pool(record, pooling, want);
        uint32_t wrong = 0;
        for (uint32_t c = 0; c < hidden; c++)
            wrong += dtype == DTYPE_F16
                         ? ((uint16_t *)item.rows)[c] != f16_from_float(want[c])
                         : float_bits(((float *)item.rows)[c]) != float_bits(want[c]);
        CHECK(item.status == RECORD_OK && wrong == 0, "%u tokens, pooling %d: %u values differ",
              record->tokens, (int)pooling, wrong);
        free(item.rows);
    }
}

static void test_pooling(const struct model *model) {
    struct engine *engine = engine_small(model, PRECISION_F32, features_best());
    for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_F16; dtype++) {
        pooled_compare(engine, POOLING_MEAN, dtype);
        pooled_compare(engine, POOLING_MAX, dtype);
    }
    cpu_engine_table.close(engine);
}

/* Runs the first `count` records as one batch and frees their rows; statuses stay in items. */
static void statuses_run(struct engine *engine, struct engine_item *items, uint32_t count,
                         enum pooling pooling, enum dtype dtype) {
    static uint16_t ids[TOKENS_MAX];
    struct engine_batch batch = {.ids = ids, .items = items, .count = count};
    for (uint32_t i = 0; i < count; i++) {
        items[i] = item_make(&records[i], batch.tokens, pooling, dtype);
        memcpy(ids + batch.tokens, records[i].ids, records[i].tokens * sizeof(*ids));
        batch.tokens += records[i].tokens;
    }
    batch_run(engine, &batch);
}

/* A word embedding that is infinite spoils the records that use it, and only those. */
static void test_nonfinite(const struct model *model) {
    struct model bad = *model;
    struct engine_item items[16];
    float *words = malloc((size_t)model->config.vocabulary * hidden * sizeof(float));
    for (uint32_t row = 0; row < model->config.vocabulary; row++)
        tensor_read_row(&model->word_embeddings, row, words + (size_t)row * hidden);
    words[(size_t)26 * hidden + 3] = INFINITY;
    bad.word_embeddings = (struct tensor){
        (unsigned char *)words, TENSOR_F32, model->config.vocabulary, hidden, hidden, 1};
    struct engine *engine = engine_small(&bad, PRECISION_F32, features_best());
    records[7].ids[5] = 26;
    for (enum pooling pooling = POOLING_NONE; pooling <= POOLING_MAX; pooling++) {
        statuses_run(engine, items, 16, pooling, DTYPE_F32);
        for (int i = 0; i < 16; i++) {
            enum record_status want = i == 7 ? RECORD_NONFINITE : RECORD_OK;
            CHECK(items[i].status == want, "pooling %d, record %d: status %d", (int)pooling, i,
                  (int)items[i].status);
            CHECK(pooling != POOLING_NONE || want != RECORD_OK ||
                      memcmp(items[i].rows, records[i].rows, rows_bytes(&records[i])) == 0,
                  "record %d changed beside a bad one", i);
            free(items[i].rows);
        }
    }
    records_make(model);
    cpu_engine_table.close(engine);
    free(words);
}

/* Values of 1e5 fit float32 and not float16. */
static void test_overflow(const struct model *model) {
    struct model large = *model;
    struct engine_item items[8];
    float bias[1024] = {0};
    bias[17] = 1e5f;
    large.final_norm_bias =
        (struct tensor){(unsigned char *)bias, TENSOR_F32, 1, hidden, hidden, 1};
    struct engine *engine = engine_small(&large, PRECISION_BF16, SET_GENERIC);
    for (enum pooling pooling = POOLING_NONE; pooling <= POOLING_MAX; pooling++)
        for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_F16; dtype++) {
            statuses_run(engine, items, 8, pooling, dtype);
            for (int i = 0; i < 8; i++) {
                CHECK(items[i].status == (dtype == DTYPE_F16 ? RECORD_OVERFLOW : RECORD_OK),
                      "status %d", (int)items[i].status);
                free(items[i].rows);
            }
        }
    cpu_engine_table.close(engine);
}

/* The first record is one token, a residue: it has no <s>. */
static void test_bos(const struct model *model) {
    struct engine_item items[4];
    struct engine *engine = engine_small(model, PRECISION_F32, SET_GENERIC);
    statuses_run(engine, items, 4, POOLING_BOS, DTYPE_F32);
    for (int i = 0; i < 4; i++) {
        CHECK(items[i].status == (i == 0 ? RECORD_NO_BOS : RECORD_OK), "record %d: status %d", i,
              (int)items[i].status);
        /* Its bytes must be those of the token before the residues, taken as a residue. */
        if (i > 0) {
            struct engine_item rows = item_make(&records[i], 0, POOLING_NONE, DTYPE_F32);
            struct engine_batch batch = {records[i].ids, &rows, records[i].tokens, 1, NULL, 0, ""};
            rows.first_residue = 0;
            batch_run(engine, &batch);
            CHECK(memcmp(rows.rows, items[i].rows, hidden * 4) == 0, "record %d: another row", i);
            free(rows.rows);
        }
        free(items[i].rows);
    }
    cpu_engine_table.close(engine);
}

/* Batches that break the submitter's promises fail as a whole, and the engine goes on. */
static void test_faults(const struct model *model) {
    struct engine *engine = engine_small(model, PRECISION_F32, SET_GENERIC);
    uint16_t ids[4] = {1, 5, 6, 2}, wrong[4] = {1, 5, UINT16_MAX, 2};
    struct engine_item good = item_make(&records[3], 0, POOLING_NONE, DTYPE_F32);
    struct engine_item outside = good, empty = good, residues = good, unknown = good, twice[2];
    twice[0] = twice[1] = good;
    outside.first_token = 1;
    empty.tokens = 0;
    residues.residues = 4;
    struct engine_batch batches[] = {
        {ids, &outside, 4, 1, NULL, 0, ""},  {ids, &empty, 4, 1, NULL, 0, ""},
        {ids, &residues, 4, 1, NULL, 0, ""}, {wrong, &unknown, 4, 1, NULL, 0, ""},
        {ids, twice, 4, 2, NULL, 0, ""},     {ids, &good, 513, 1, NULL, 0, ""}};
    for (size_t i = 0; i < sizeof(batches) / sizeof(*batches); i++) {
        cpu_engine_table.submit(engine, &batches[i]);
        batch_await(engine, &batches[i]);
        CHECK(batches[i].failure[0] && batches[i].items->status == RECORD_ENGINE,
              "batch %zu: '%s', status %d", i, batches[i].failure, (int)batches[i].items->status);
    }
    struct engine_batch nothing = {.ids = ids, .items = NULL};
    struct engine_batch works = {ids, &good, 4, 1, NULL, 0, ""};
    batch_run(engine, &nothing);
    batch_run(engine, &works);
    CHECK(good.status == RECORD_OK && works.seconds > 0, "status %d", (int)good.status);
    cpu_engine_table.close(engine);
    free(good.rows);
}

/* Two batches in flight come back in order, and closing finishes what is queued. */
static void test_queue(const struct model *model) {
    struct engine *engine = engine_small(model, PRECISION_F32, SET_GENERIC);
    const struct engine_info *info = cpu_engine_table.info(engine);
    struct engine_item items[2];
    struct engine_batch batches[2];
    CHECK(info->depth == 2 && info->threads == 2 && info->weight_bytes > 0, "engine_info");
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 2; i++) {
            const struct record *record = &records[(round + i * 7) % 20];
            items[i] = item_make(record, 0, POOLING_MEAN, DTYPE_F32);
            batches[i] =
                (struct engine_batch){record->ids, &items[i], record->tokens, 1, NULL, 0, ""};
            cpu_engine_table.submit(engine, &batches[i]);
        }
        for (int i = 0; i < 2 && round < 19; i++) /* in order */
            batch_await(engine, &batches[i]);
        if (round == 19)
            cpu_engine_table.close(engine);
        for (int i = 0; i < 2; i++) {
            CHECK(items[i].status == RECORD_OK, "status %d", (int)items[i].status);
            free(items[i].rows);
        }
    }
}

static void option_refused(const struct model *model, const char *set,
                           struct engine_options options, const char *word) {
    struct engine *engine;
    struct error error = {0};
    setenv("ESM1NV_CPU", set, 1);
    int result = cpu_engine_table.open(&engine, model, &options, &error);
    CHECK(result < 0 && engine == NULL && error.status == EX_CONFIG && strstr(error.text, word),
          "%s: result %d, status %d, '%s'", word, result, error.status, error.text);
}

static void test_options(const struct model *model) {
    struct engine_options fine = {PRECISION_F32, 1, NULL, 512}, half = fine, small = fine,
                          many = fine;
    half.precision = PRECISION_F16;
    small.max_batch_tokens = model->config.positions - 1;
    many.threads = 100000;
    option_refused(model, "sse9", fine, "ESM1NV_CPU=sse9");
    option_refused(model, "", half, "f16");
    option_refused(model, "", small, "batches");
    option_refused(model, "", many, "threads");
    if (features_best() < SET_AVX512BF16)
        option_refused(model, "avx512bf16", fine, "does not have it");
    cpu_engine_table.close(NULL);
    CHECK(usable_cores() >= 1, "no cores");
}

static void model_test(const char *path, bool rest) {
    struct model *model;
    struct error error = {0};
    if (model_open(&model, path, &error) < 0) {
        CHECK(false, "%s", error.text);
        return;
    }
    records_make(model);
    for (enum precision precision = PRECISION_BF16; precision >= PRECISION_F32; precision--) {
        test_case(precision == PRECISION_F32
                      ? "f32: same bytes whatever the instructions, threads and company"
                      : "bf16: same bytes whatever the instructions, threads and company");
        records_forget();
        reference_make(model, precision);
        test_identity(model, precision);
    }
    if (rest) {
        test_case("mean and max are those of the rows, in f32 and f16");
        test_pooling(model);
        test_case("a record that is not finite fails alone");
        test_nonfinite(model);
        test_case("values beyond float16 fail float16 output only");
        test_overflow(model);
        test_case("bos is the row before the first residue, or fails");
        test_bos(model);
        test_case("a batch that breaks the rules fails, the next works");
        test_faults(model);
        test_case("batches come back in order; closing finishes them");
        test_queue(model);
        test_case("impossible options are refused");
        test_options(model);
    }
    records_forget();
    model_destroy(model);
}

int main(int argc, char **argv) {
    test_case("arguments");
    CHECK(argc > 1, "usage: test_engine MODEL...");
    for (int i = 1; i < argc; i++)
        model_test(argv[i], i == 1);
    return test_done();
}
