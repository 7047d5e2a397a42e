/* SPDX-License-Identifier: Apache-2.0
 *
 * Other formats that a file of sequences may be taken for, and what then becomes of it. They are
 * legal, so nothing is refused; each is worth a warning.
 */
#ifndef ESM1NV_FILTER_LOOK_H
#define ESM1NV_FILTER_LOOK_H

#include "client/filter/input/record.h"

enum look {
    LOOK_PLAIN, /* like nothing else */
    LOOK_PIR,
    LOOK_A3M,
    LOOK_COMMENTS,
    LOOK_GENPEPT,
    LOOK_FASTQ,
    LOOK_TABLE,
    LOOK_BLANKS,
    LOOK_NUCLEOTIDES,
    LOOK_KINDS
};

/* What a record of FASTA looks like. It is complete; comment: one of its lines began with ';' or
 * '#'. */
enum look look_of_fasta(const struct record *record, bool comment);

/* What a line looks like, which is ID<TAB>SEQ where tab is true. Its sequence is complete, and its
 * id holds what came up to the tab, or up to the line end. */
enum look look_of_line(const struct record *record, bool tab);

/* "looks like PIR: ...", and what to do. */
const char *look_text(enum look look);

#endif
