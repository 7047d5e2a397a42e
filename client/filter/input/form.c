/* SPDX-License-Identifier: Apache-2.0
 *
 * The forms as rows, of which the first that fits counts. A magic goes on to a byte that no text of
 * sequences has, where there is one: some begin with letters.
 */
#include "client/filter/input/form.h"

#include <string.h>

#define MAGIC(text) .magic = text, .magic_size = sizeof text - 1

static const char translate[] = "it holds nucleotides: translate them into proteins first";
static const char export[] = "export the sequences as FASTA";
static const char download[] = "download the sequences again, as FASTA";

/* clang-format off: a row is one or two lines, the name first. */
static const struct form forms[] = {
    {"gzip-compressed data", "zcat", MAGIC("\x1F\x8B")},
    {"bzip2-compressed data", "bzcat", MAGIC("BZh?1AY&SY")},
    {"bzip2-compressed data", "bzcat", MAGIC("BZh?\x17\x72\x45\x38\x50\x90")},
    {"xz-compressed data", "xzcat",
     MAGIC("\xFD"
           "7zXZ\0")},
    {"lzma-compressed data", "xz -dc --format=lzma", MAGIC("]\0\0")},
    {"zstd-compressed data", "zstdcat", MAGIC("\x28\xB5\x2F\xFD")},
    {"zstd- or lz4-compressed data", "zstdcat", MAGIC("?\x2A\x4D\x18")},
    {"lz4-compressed data", "lz4 -dc", MAGIC("\x04\x22\x4D\x18")},
    {"lz4-compressed data", "lz4 -dc", MAGIC("\x02\x21\x4C\x18")},
    {"lzip-compressed data", "lzip -dc", MAGIC("LZIP\1")},
    {"lzop-compressed data", "lzop -dc", MAGIC("\x89LZO")},
    {"snappy-compressed data", "snzip -dc", MAGIC("\xFF\x06\0\0sNaPpY")},
    {"data from compress (.Z)", "zcat", MAGIC("\x1F\x9D")},
    {"data from pack (.z)", "zcat", MAGIC("\x1F\x1E")},

    {"a zip archive (or an office document)", "unzip -p", MAGIC("PK\3\4")},
    {"an empty zip archive", .advice = "nothing is in it", MAGIC("PK\5\6")},
    {"a 7z archive", "7z x -so", MAGIC("7z\xBC\xAF\x27\x1C")},
    {"a rar archive", "unrar p -inul", MAGIC("Rar!\x1A\x07")},
    {"a tar archive", "tar -xOf", MAGIC("ustar\0"), .offset = 257},
    {"a tar archive", "tar -xOf", MAGIC("ustar  \0"), .offset = 257},

    {"UTF-32 text", "iconv -f UTF-32 -t UTF-8", MAGIC("\xFF\xFE\0\0")},
    {"UTF-32 text", "iconv -f UTF-32 -t UTF-8", MAGIC("\0\0\xFE\xFF")},
    {"UTF-16 text", "iconv -f UTF-16 -t UTF-8", MAGIC("\xFF\xFE")},
    {"UTF-16 text", "iconv -f UTF-16 -t UTF-8", MAGIC("\xFE\xFF")},
    {"UTF-32 text", "iconv -f UTF-32LE -t UTF-8", .zeros = 0xE},
    {"UTF-32 text", "iconv -f UTF-32BE -t UTF-8", .zeros = 0x7},
    {"UTF-16 text", "iconv -f UTF-16LE -t UTF-8", .zeros = 0xA},
    {"UTF-16 text", "iconv -f UTF-16BE -t UTF-8", .zeros = 0x5},
    {"data that begins with NUL bytes", .advice = "it is no text, or was damaged", MAGIC("\0")},

    {"a BAM file", .advice = translate, MAGIC("BAM\1")},
    {"a CRAM file", .advice = translate, MAGIC("CRAM\2")},
    {"a CRAM file", .advice = translate, MAGIC("CRAM\3")},
    {"a BCF file", .advice = translate, MAGIC("BCF\2")},
    {"a 2bit file", .advice = translate, MAGIC("\x43\x27\x41\x1A")},
    {"a 2bit file", .advice = translate, MAGIC("\x1A\x41\x27\x43")},
    {"an SFF file", .advice = translate, MAGIC(".sff")},
    {"an SCF trace", .advice = translate, MAGIC(".scf")},
    {"an ABI trace", .advice = translate, MAGIC("ABIF\0")},
    {"a POD5 file", .advice = translate, MAGIC("\x8BPOD")},
    {"an SRA file", .advice = translate, MAGIC("NCBI.sra")},
    {"a DIAMOND database", "diamond getseq -d", MAGIC("\x6D\x18\xEE\x15\xA4\xF8\x4A\x02")},
    {"an HDF5 file", .advice = export, MAGIC("\x89HDF")},
    {"a NumPy array", .advice = export, MAGIC("\x93NUMPY")},
    {"a Python pickle", .advice = export, MAGIC("\x80\x04\x95")},
    {"a Parquet file", .advice = export, MAGIC("PAR1\x15")},
    {"an Arrow file", .advice = export, MAGIC("ARROW1\0")},
    {"an SQLite database", .advice = export, MAGIC("SQLite format 3")},
    {"a PDF file", .advice = export, MAGIC("%PDF-")},
    {"an office document", .advice = export, MAGIC("\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1")},
    {"an office document (RTF)", .advice = export, MAGIC("{\\rtf")},
    {"an image", .advice = export, MAGIC("\x89PNG")},
    {"an image", .advice = export, MAGIC("\xFF\xD8\xFF")},
    {"a program", .advice = export,
     MAGIC("\x7F"
           "ELF")},
    {"a web page", .advice = download, MAGIC("<!DOCTYPE")},
    {"a web page", .advice = download, MAGIC("<!doctype")},
    {"a web page", .advice = download, MAGIC("<html")},
    {"XML", .advice = download, MAGIC("<?xml")},
};
/* clang-format on */

/* The bytes of the first line, as far as they count. */
static size_t head_size(const char *bytes, size_t size) {
    if (size > FORM_HEAD)
        size = FORM_HEAD;
    const char *feed = memchr(bytes, '\n', size);
    size = feed ? (size_t)(feed - bytes) : size;
    const char *end = memchr(bytes, '\r', size);
    return end ? (size_t)(end - bytes) : size;
}

bool form_is_settled(const char *bytes, size_t size) {
    size_t head = head_size(bytes, size);
    return head < size || head == FORM_HEAD;
}

static bool form_fits(const struct form *form, const char *head, size_t size, uint8_t zeros) {
    if (form->zeros != 0)
        return form->zeros == zeros;
    if (size < form->offset + (size_t)form->magic_size)
        return false;
    for (size_t i = 0; i < form->magic_size; i++)
        if (form->magic[i] != head[form->offset + i] && form->magic[i] != '?')
            return false;
    return true;
}

const struct form *form_of(const char *bytes, size_t size) {
    size = head_size(bytes, size);
    uint8_t zeros = 0;
    for (unsigned i = 0; i < 4 && i < size; i++)
        zeros |= (uint8_t)((bytes[i] == 0) << i);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (form_fits(&forms[i], bytes, size, zeros))
            return &forms[i];
    return NULL;
}
