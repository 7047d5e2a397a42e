/* SPDX-License-Identifier: Apache-2.0
 *
 * Each format by what sets it apart: how its lines begin, what stands inside of them, or which
 * letters its sequences have.
 */
#include "client/filter/input/look.h"

#include <string.h>

/* Fewer letters may well be a peptide of alanine, cysteine, glycine, threonine and asparagine. */
#define NUCLEOTIDES_LEAST 12u
#define TITLE_MOST 32u /* letters in the title of a column */

static const char *const texts[LOOK_KINDS] = {
    [LOOK_PIR] = "PIR: the title below each header is taken as residues; delete that line, or "
                 "convert the file to FASTA",
    [LOOK_A3M] =
        "A3M, an alignment: --invalid drop leaves out its dashes and keeps the insertions, "
        "which gives whole sequences",
    [LOOK_COMMENTS] =
        "a file with ; comments, or an A3M with its # name line: such lines are taken "
        "as residues; delete them, e.g. grep -v '^[;#]' FILE | esm1nv",
    [LOOK_GENPEPT] = "GenPept: each of its lines is taken as a sequence; convert the file to FASTA",
    [LOOK_FASTQ] = "FASTQ: each of its lines is taken as a sequence; convert it to FASTA, and "
                   "translate nucleotides into proteins",
    [LOOK_TABLE] = "a table with a header row or more columns: they are taken as residues; keep ID "
                   "and SEQ, e.g. tail -n +2 FILE | cut -f 1,3 | esm1nv",
    [LOOK_BLANKS] = "an id and a sequence with a blank between them, or like other text: all "
                    "letters of a line are taken as residues; write ID<TAB>SEQ, e.g. "
                    "sed 's/  */\\t/' FILE | esm1nv",
    [LOOK_NUCLEOTIDES] = "nucleotides: they are embedded as amino acids; translate them into "
                         "proteins first",
};

const char *look_text(enum look look) {
    return texts[look];
}

/* Only A, C, G, T, U and N, and enough of them. The first residue of a protein that is another one
 * ends the search. */
static bool is_nucleotides(const struct record *record) {
    static const char letters[] = "ACGTUN";
    unsigned seen = 0;
    for (uint32_t i = 0; i < record->residue_count; i++) {
        const char *letter = record->residues[i] ? strchr(letters, record->residues[i]) : NULL;
        if (!letter)
            return false;
        seen |= 1u << (letter - letters);
    }
    bool all_four = (seen & 7) == 7 && (seen & 24) != 0;
    return all_four && record->residue_count >= NUCLEOTIDES_LEAST;
}

/* ">P1;CRAB_HUMAN": the type of the entry has two letters. */
static bool is_pir(const struct record *record) {
    static const char types[] = "P1F1DLDCRLRCN1N3XX";
    if (record->id_size < 4 || record->id[2] != ';')
        return false;
    for (const char *type = types; *type; type += 2)
        if (memcmp(record->id, type, 2) == 0)
            return true;
    return false;
}

enum look look_of_fasta(const struct record *record, bool comment) {
    const unsigned a3m = RECORD_DASH | RECORD_LOWER | RECORD_UPPER;
    if (is_pir(record))
        return LOOK_PIR;
    if (comment)
        return LOOK_COMMENTS;
    if ((record->hints & a3m) == a3m)
        return LOOK_A3M;
    return is_nucleotides(record) ? LOOK_NUCLEOTIDES : LOOK_PLAIN;
}

/* The title of a column of sequences, as it reads after cleaning. */
static bool is_title(const struct record *record) {
    static const char *const ends[] = {"SEQUENCE", "SEQUENCES", "PROTEIN"};
    const char *letters = (const char *)record->residues;
    size_t size = record->residue_count;
    if (size > TITLE_MOST)
        return false;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t end = strlen(ends[i]);
        if (size >= end && memcmp(letters + size - end, ends[i], end) == 0)
            return true;
    }
    return size == 3 && memcmp(letters, "SEQ", 3) == 0;
}

static bool begins_with_word(const struct record *record, const char *word) {
    size_t size = strlen(word);
    return record->id_size >= size && memcmp(record->id, word, size) == 0 &&
           (record->id_size == size || record->id[size] == ' ');
}

enum look look_of_line(const struct record *record, bool tab) {
    if (!tab && record->id_size > 0 && record->id[0] == '@')
        return LOOK_FASTQ;
    if (!tab && record->id_size > 0 && (record->id[0] == ';' || record->id[0] == '#'))
        return LOOK_COMMENTS;
    if (!tab && begins_with_word(record, "LOCUS") && record->hints & RECORD_BLANK)
        return LOOK_GENPEPT;
    if (record->hints & (RECORD_TAB | RECORD_COMMA) || (record->line == 1 && is_title(record)))
        return LOOK_TABLE;
    if (record->hints & RECORD_BLANK)
        return LOOK_BLANKS;
    return is_nucleotides(record) ? LOOK_NUCLEOTIDES : LOOK_PLAIN;
}
