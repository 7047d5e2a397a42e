/* SPDX-License-Identifier: Apache-2.0
 *
 * This tests whether the emulation notices what it is there to notice. Each small program must pass
 * as it is, in every order, and fail with its bug, in at least one order and in a way that this
 * kind of build is expected to find. This program runs itself for each of them: with the arguments
 * ROW whole|broken it is one of the small programs. Then it ends with 0 when the result is right, 1
 * when it is not, 2 when a call failed, or with the status by which the emulation or a sanitizer
 * ends a program.
 */
#include "planted.h"

#include "tests/check.h"

#include <cstring>
#include <string>
#include <sys/wait.h>

#if defined(EMULATION_ASAN)
static const int build = 1;
#elif defined(EMULATION_TSAN)
static const int build = 2;
#else
static const int build = 0;
#endif

static int planted_run(const planted &program, bool broken) {
    bool right = program.run(broken);
    if (!right)
        fprintf(stderr, "planted: " WRONG "\n");
    return right ? 0 : 1;
}

struct ending {
    int status;
    std::string said;
};

/* Runs one small program to its end. */
static ending child_run(const char *self, size_t row, const char *how, const char *order) {
    ending end = {-1, ""};
    std::string command = "EMULATION_ORDER=" + std::string(order) + " exec '" + self + "' " +
                          std::to_string(row) + " " + how + " 2>&1";
    FILE *output = popen(command.c_str(), "r");
    char text[4096];
    while (size_t got = output ? fread(text, 1, sizeof text, output) : 0)
        end.said.append(text, got);
    if (output)
        end.status = pclose(output);
    return end;
}

static void program_check(const char *self, size_t row, const planted &program) {
    const char *expected = program.says[build];
    bool caught = !expected;
    std::string said;
    test_case(program.name);
    for (const char *order : {"forward", "backward", "rotated"}) {
        ending end = child_run(self, row, "whole", order);
        CHECK(end.status == 0, "whole, %s: wait status %d: %s", order, end.status,
              end.said.c_str());
        if (caught)
            continue;
        end = child_run(self, row, "broken", order);
        caught = end.status != 0 && end.said.find(expected) != std::string::npos;
        said = end.said;
    }
    CHECK(caught, "its bug goes unnoticed, \"%s\" was expected, not: %s", expected, said.c_str());
}

int main(int count, char **arguments) {
    std::vector<planted> all = planted_kernels;
    all.insert(all.end(), planted_tensors.begin(), planted_tensors.end());
    all.insert(all.end(), planted_hosts.begin(), planted_hosts.end());
    if (count == 3)
        return planted_run(all.at(std::stoul(arguments[1])), strcmp(arguments[2], "broken") == 0);
    for (size_t row = 0; row < all.size(); row++)
        program_check(arguments[0], row, all[row]);
    return test_done();
}
