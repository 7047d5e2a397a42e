/* SPDX-License-Identifier: Apache-2.0
 *
 * The thread team: every member takes part in every job, nobody passes a barrier before all have
 * come, work is handed out once, and a team without a job uses no CPU.
 */
#include "daemon/cpu/team.h"
#include "tests/check.h"

#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#define MEMBERS_MAX 9
#define ROUNDS 300
#define UNITS 50

static struct team *team;
static unsigned team_size;
static unsigned counts[MEMBERS_MAX]; /* plain: barriers order them */
static atomic_uint taken[UNITS];
static atomic_uint faults;

static void job(void *user, unsigned member) {
    unsigned unit;
    for (unsigned round = 0; round < ROUNDS; round++) {
        counts[member]++;
        team_barrier(team);
        for (unsigned m = 0; m < team_size; m++)
            faults += counts[m] != counts[member];
        team_barrier(team);
        if (round % 64 == member)
            usleep(300); /* longer than the others spin */
        while ((unit = team_take(team)) < UNITS)
            taken[unit]++;
        team_barrier(team);
        for (unsigned u = 0; u < UNITS; u++)
            faults += taken[u] != round + 1 + *(unsigned *)user;
        team_barrier(team);
    }
}

static void team_test(unsigned members) {
    struct error error;
    unsigned before = 0;
    team_size = members;
    CHECK(team_create(&team, members, &error) == 0, "no team");
    for (unsigned m = 0; m < MEMBERS_MAX; m++)
        counts[m] = 0;
    for (unsigned u = 0; u < UNITS; u++)
        taken[u] = 0;
    for (int run = 0; run < 3; run++, before += ROUNDS)
        team_run(team, job, &before);
    CHECK(faults == 0, "%u members: %u faults", members, faults);
    for (unsigned m = 0; m < members; m++)
        CHECK(counts[m] == 3 * ROUNDS, "member %u took part %u times", m, counts[m]);
    team_destroy(team);
}

TEST("an idle team sleeps") {
    struct error error;
    struct timespec start, end;
    CHECK(team_create(&team, 4, &error) == 0, "no team");
    double used = 1;
    for (unsigned attempt = 0; attempt < 5 && used >= 0.05; attempt++) { /* some may still spin */
        usleep(50000);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
        usleep(300000);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
        used = (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
    }
    CHECK(used < 0.05, "%g s of CPU time in 0.3 s", used);
    team_destroy(team);
}

TEST("no team is nothing to destroy") {
    team_destroy(NULL);
}

int main(void) {
    test_case("1 to 9 members meet at barriers and share work");
    for (unsigned members = 1; members <= MEMBERS_MAX; members += members < 4 ? 1 : 5)
        team_test(members);
    test_run();
    return test_done();
}
