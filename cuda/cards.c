/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds and chooses GPUs. Counting GPUs creates no context on them. Asking for their free memory
 * does, so only the chosen ones are asked.
 */
#include "cuda/cards.h"
#include "cuda/call.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define SM_LEAST 70u /* Volta, the first with tensor cores */

static int no_driver(struct error *error) {
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0)
        return error_set(error, EX_CONFIG, "no NVIDIA driver is installed on this machine");
    return error_set(error, EX_CONFIG,
                     "the NVIDIA driver is too old: it knows CUDA %d.%d, this program needs %d.%d; "
                     "update the driver",
                     driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
}

/* Returns the number of GPUs, or -1. */
static int cards_count(struct error *error) {
    int count = 0;
    cudaError_t code = cudaGetDeviceCount(&count);
    if (code == cudaErrorInsufficientDriver)
        return no_driver(error);
    if (code == cudaErrorStubLibrary)
        return error_set(error, EX_CONFIG,
                         "libcuda.so.1 is the CUDA toolkit's stub, not a driver; take its folder "
                         "out of the library path");
    if (code == cudaErrorNoDevice || (code == cudaSuccess && count == 0))
        return error_set(error, EX_CONFIG, "this machine has no NVIDIA GPU, or it is hidden");
    if (cuda_result(code, "cudaGetDeviceCount", error) < 0)
        return -1;
    return count < CARDS_MAX ? count : CARDS_MAX;
}

static int card_read(struct card *card, int ordinal, struct error *error) {
    struct cudaDeviceProp properties;
    if (CUDA(cudaGetDeviceProperties, &properties, ordinal) < 0)
        return error_prefix(error, "GPU %d", ordinal);
    card->ordinal = ordinal;
    card->sm = (uint32_t)(10 * properties.major + properties.minor);
    card->multiprocessors = (uint32_t)properties.multiProcessorCount;
    snprintf(card->name, sizeof card->name, "%.*s", (int)sizeof card->name - 1, properties.name);
    if (card->sm < SM_LEAST)
        return error_set(error, EX_CONFIG,
                         "GPU %d (%s) has compute capability %d.%d; 7.0 or later is needed",
                         ordinal, card->name, properties.major, properties.minor);
    return 0;
}

int cards_probe(struct error *error) {
    int count = cards_count(error);
    for (int ordinal = 0; ordinal < count; ordinal++) {
        struct card card;
        if (card_read(&card, ordinal, error) == 0)
            return 0;
    }
    return -1;
}

/* Reads the numbers in `devices`: "0,1", or "all", or NULL for the first GPU. Returns how many
 * there are, or -1. */
static int devices_parse(int ordinals[CARDS_MAX], const char *devices, int count,
                         struct error *error) {
    bool used[CARDS_MAX] = {false};
    int chosen = 0;
    if (!devices || strcmp(devices, "all") == 0) {
        for (; chosen < (devices ? count : 1); chosen++)
            ordinals[chosen] = chosen;
        return chosen;
    }
    for (const char *at = devices; chosen < CARDS_MAX; at++) {
        char *end;
        long number = strtol(at, &end, 10);
        if (*at < '0' || *at > '9' || (*end && *end != ','))
            return error_set(error, EX_CONFIG,
                             "GPUs '%s': neither \"all\" nor numbers such as \"0,1\"", devices);
        if (number >= count)
            return error_set(error, EX_CONFIG, "GPU %ld: this machine has %d, counted from 0",
                             number, count);
        if (used[number])
            return error_set(error, EX_CONFIG, "GPU %ld is named twice", number);
        used[number] = true;
        ordinals[chosen++] = (int)number;
        at = end;
        if (!*at)
            break;
    }
    return chosen;
}

static int alike_check(const struct card *card, const struct card *first, struct error *error) {
    if (card->sm == first->sm && card->multiprocessors == first->multiprocessors &&
        strcmp(card->name, first->name) == 0)
        return 0;
    return error_set(error, EX_CONFIG,
                     "GPU %d (%s) and GPU %d (%s) are not alike, and would give a record different "
                     "bytes; name GPUs of one kind",
                     first->ordinal, first->name, card->ordinal, card->name);
}

int cards_choose(struct card cards[CARDS_MAX], const char *devices, struct error *error) {
    int ordinals[CARDS_MAX];
    int count = cards_count(error);
    int chosen = count < 0 ? -1 : devices_parse(ordinals, devices, count, error);
    for (int i = 0; i < chosen; i++) {
        size_t total;
        if (card_read(&cards[i], ordinals[i], error) < 0 ||
            alike_check(&cards[i], &cards[0], error) < 0)
            return -1;
        if (CUDA(cudaSetDevice, ordinals[i]) < 0 ||
            CUDA(cudaMemGetInfo, &cards[i].free_bytes, &total) < 0)
            return error_prefix(error, "GPU %d (%s)", ordinals[i], cards[i].name);
    }
    return chosen;
}
