/* SPDX-License-Identifier: Apache-2.0
 *
 * The little-endian values as they come from the daemon, and nothing else.
 */
#include "client/filter/output/output.h"

const struct output_format output_raw = {.name = "raw", .binary = true, .rows = output_values};
