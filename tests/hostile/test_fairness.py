# SPDX-License-Identifier: Apache-2.0
#
# Shares of the CPU engine among real users: each always has work queued, with other numbers of
# clients and other lengths, and what each got of a run is compared. And how long a newcomer waits.
import statistics

import shares
from hostile import *

BATCH = 2048  # residues of the largest
# Per user: how many clients, and the lengths of their records in turn.
FOUR_USERS = [(1, [500]), (3, [30, 400]), (8, [10, 60, 510]), (12, [100])]
EIGHT_USERS = [(1, [500]), (2, [30, 400]), (4, [10, 60, 510]), (5, [100]), (8, [512]),
               (12, [5, 250]), (14, [1, 300, 80]), (18, [40])]


def share(users, seconds):
    need_root()
    with start("--threads", "1", model=TINY1, backend="cpu") as daemon:
        got, latencies = shares.measure(daemon, users, seconds)
        if not shares.can_tell(got):  # of so short a time
            seconds *= 3
            got, latencies = shares.measure(daemon, users, seconds)
    if not shares.can_tell(got):
        raise Skip(f"{got} residues are too few to tell shares: a slow build")
    shares.check_equal(got)
    rate = sum(got) / seconds
    check(statistics.median(latencies) < 4 * BATCH / rate + 0.1,
          f"newcomers waited {latencies}, a batch takes {BATCH / rate} s")


@case
def four_users_get_equal_shares_and_newcomers_do_not_wait():
    share(FOUR_USERS, max(2, 6 * SCALE))


@case
def eight_users_with_64_clients_get_equal_shares_and_newcomers_do_not_wait():
    equal(sum(clients for clients, _ in EIGHT_USERS), 64)
    share(EIGHT_USERS, max(2, 8 * SCALE))


main()
