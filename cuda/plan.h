/* SPDX-License-Identifier: Apache-2.0
 *
 * What a pass is to do, packed for the device, and what came back, handed to the submitter.
 */
#ifndef ESM1NV_CUDA_PLAN_H
#define ESM1NV_CUDA_PLAN_H

#include "cuda/sizes.h"
#include "daemon/engine/queue.h"

/* Room for sorting the items of a part. */
struct planner {
    uint32_t *order;  /* [tokens] */
    uint32_t *starts; /* [P + 1] */
};

int planner_init(struct planner *planner, const struct sizes *sizes, struct error *error);
void planner_finish(struct planner *planner);

/* Writes the plan of a part, of the bucket that `places` belongs to. Returns the bytes of output
 * that will come back: a word of flags for each item, then their rows. */
size_t plan_pack(struct planner *planner, const struct sizes *sizes,
                 const struct plan_places *places, const struct engine_part *part,
                 unsigned char *memory);

/* The plan that lies, or will lie, at `memory` on the device. */
struct gpu_plan plan_at(const unsigned char *memory, const struct plan_places *places);

/* Writes the items' statuses, and the rows of those that are fine to where they want them. `plan`
 * is the packed plan, `output` what the device made of it. */
void plan_deliver(const struct sizes *sizes, const struct plan_places *places,
                  const struct engine_part *part, const unsigned char *plan,
                  const unsigned char *output);

#endif
