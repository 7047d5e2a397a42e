/* SPDX-License-Identifier: Apache-2.0
 *
 * The plan tells the device what a pass is to do; delivering gives the submitter what came back.
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

/* Returns 0, or -1 (EX_SOFTWARE); planner_finish() is to be called in either case. */
int planner_init(struct planner *planner, const struct sizes *sizes, struct error *error);
/* Safe on a null value. */
void planner_finish(struct planner *planner);

/* Writes the plan of a part to `memory`, where a bucket has its `places`. Returns how many bytes of
 * output the device will make: a word of flags for each item, then their rows. */
size_t plan_pack(struct planner *planner, const struct sizes *sizes,
                 const struct plan_places *places, const struct engine_part *part,
                 unsigned char *memory);

/* The pointers to the parts of a plan at `memory`, which is on the device. */
struct gpu_plan plan_at(const unsigned char *memory, const struct plan_places *places);

/* Writes the statuses of the items, and copies the rows of those that are RECORD_OK to where the
 * submitter wants them. `plan` is the packed plan, `output` what the device made of it. */
void plan_deliver(const struct sizes *sizes, const struct plan_places *places,
                  const struct engine_part *part, const unsigned char *plan,
                  const unsigned char *output);

#endif
