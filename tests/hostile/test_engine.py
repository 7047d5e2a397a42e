# SPDX-License-Identifier: Apache-2.0
#
# Records that the engine cannot embed fail alone: a model whose weights overflow for one letter, so
# that every record with that letter has rows that are not finite, in batches with others that must
# keep their bytes.
import json

from hostile import *

import nemo_file

LETTER, TOKEN = b"W", 5 + LETTERS.index(b"W")


def overflowing_model(folder):
    path = os.path.join(folder, "overflowing.nemo")
    config, tensors, _ = nemo_file.read_nemo(TINY1)
    tensors["language_model.embedding.word_embeddings.weight"][TOKEN] = 3e38
    nemo_file.write_nemo(path, config, tensors)
    return path


def embed(daemon, records, pooling):
    text = b"".join(b">%s\n%s\n" % record for record in records)
    run = run_filter(daemon, "-f", "jsonl", "--pool", pooling, input=text, expect=None,
                     env=FILTER_ENVIRONMENT)
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    equal([line["id"].encode() for line in lines], [name for name, _ in records])
    return run.status, lines


@case
def rows_that_are_not_finite_fail_their_record_alone():
    good = [(b"good%d" % i, sequence(1 + i * 13 % 200, i).replace(LETTER, b"A")) for i in range(60)]
    bad = [(b"bad%d" % i, residues[:i] + LETTER + residues[i:])
           for i, (_, residues) in enumerate(good)]
    mixed = [record for pair in zip(good, bad) for record in pair]
    folder = new_folder()
    with start(model=overflowing_model(folder), backend="cpu") as daemon:
        for pooling in ("mean", "max", "none"):
            status, alone = embed(daemon, good, pooling)
            equal(status, 0)
            status, lines = embed(daemon, mixed, pooling)
            equal(status, 65)
            check(lines[0::2] == alone, f"{pooling}: others' rows changed")
            for line in lines[1::2]:
                check("embedding" not in line and "not finite" in line["error"], line)
        equal(daemon.status()["records_failed"], 3 * len(bad))


main()
