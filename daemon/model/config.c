/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads model_config.yaml: the few keys that decide what is computed, with OmegaConf's `${...}`
 * interpolations followed. Keys are dotted paths from the root. A key that is absent or null has
 * NeMo's default. A value that asks for another architecture is refused, never ignored.
 */
#include "daemon/model/loader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>
#include <yaml.h>

/* libyaml takes time that grows with the square of the number of anchors, and of brackets. */
#define CONFIG_MAX (64u << 10)
#define BRACKETS_MAX 1000
#define PATH_MAX_BYTES 256
#define REFERENCES_MAX 16 /* interpolations followed from one key */

struct reader {
    yaml_document_t document;
    struct error *error;
};

/* Sets *found to the value of a key of a mapping, or to NULL when the key is absent. */
static int find_key(struct reader *reader, const yaml_node_t *mapping, const char *key,
                    size_t length, yaml_node_t **found) {
    *found = NULL;
    if (mapping->type != YAML_MAPPING_NODE)
        return 0;
    for (const yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;
         pair < mapping->data.mapping.pairs.top; pair++) {
        const yaml_node_t *name = yaml_document_get_node(&reader->document, pair->key);
        if (name->type != YAML_SCALAR_NODE || name->data.scalar.length != length ||
            memcmp(name->data.scalar.value, key, length) != 0)
            continue;
        if (*found)
            return error_set(reader->error, EX_CONFIG, "%s: the key is there twice", key);
        *found = yaml_document_get_node(&reader->document, pair->value);
    }
    return 0;
}

static int find_path(struct reader *reader, const char *path, yaml_node_t **found) {
    yaml_node_t *node = yaml_document_get_root_node(&reader->document);
    while (node && *path) {
        size_t length = strcspn(path, ".");
        if (find_key(reader, node, path, length, &node) < 0)
            return -1;
        path += length + (path[length] == '.');
    }
    *found = node;
    return 0;
}

static bool is_null(const yaml_node_t *node) {
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    if (!node)
        return true;
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    for (size_t i = 0; i < sizeof nulls / sizeof *nulls; i++)
        if (strcmp((const char *)node->data.scalar.value, nulls[i]) == 0)
            return true;
    return false;
}

/* Makes the path that a reference leads to. If the reference begins with dots, it is relative to
 * the key `path` that holds it: one dot means the mapping of that key, and each further dot the
 * mapping above. Otherwise it begins at the root. */
static int target_path(char target[PATH_MAX_BYTES], const char *path, const char *reference,
                       size_t length) {
    size_t kept = 0;
    if (*reference == '.') {
        kept = strlen(path);
        for (; length > 0 && *reference == '.'; reference++, length--) {
            while (kept > 0 && path[kept - 1] != '.')
                kept--;
            kept -= kept > 0 && reference[1] == '.';
        }
    }
    int written =
        snprintf(target, PATH_MAX_BYTES, "%.*s%.*s", (int)kept, path, (int)length, reference);
    return written < PATH_MAX_BYTES && length > 0 && !memchr(reference, ':', length) ? 0 : -1;
}

/* Follows the value `text` of the key at `path` by one step. Returns 1 with path replaced when it
 * is a reference, 0 when it is a plain value, or -1. */
static int follow(struct reader *reader, char path[PATH_MAX_BYTES], const char *text) {
    const char *open = strstr(text, "${");
    size_t length = strlen(text);
    if (!open)
        return 0;
    char target[PATH_MAX_BYTES];
    yaml_node_t *node;
    if (open != text || strcspn(text, "}") != length - 1 ||
        target_path(target, path, text + 2, length - 3) < 0)
        return error_set(reader->error, EX_CONFIG,
                         "%s: %s: an interpolation that is not understood: write the value itself",
                         path, text);
    if (find_path(reader, target, &node) < 0)
        return -1;
    /* NeMo saves what was configured under `model` as the root of the file. */
    if (!node && strncmp(target, "model.", 6) == 0)
        memmove(target, target + 6, strlen(target + 6) + 1);
    if (!node && (find_path(reader, target, &node) < 0 || !node))
        return error_set(reader->error, EX_CONFIG, "%s: %s: leads to no key", path, text);
    memcpy(path, target, sizeof target);
    return 1;
}

/* Sets *text to the value of a key after following references, or to NULL when it is absent or
 * null. */
static int get_text(struct reader *reader, const char *key, const char **text) {
    char path[PATH_MAX_BYTES];
    snprintf(path, sizeof path, "%s", key);
    *text = NULL;
    for (int i = 0; i < REFERENCES_MAX; i++) {
        yaml_node_t *node;
        if (find_path(reader, path, &node) < 0)
            return -1;
        if (is_null(node))
            return 0;
        if (node->type != YAML_SCALAR_NODE)
            return error_set(reader->error, EX_CONFIG, "%s: not a single value", key);
        const char *value = (const char *)node->data.scalar.value;
        int step = follow(reader, path, value);
        if (step <= 0) {
            *text = value;
            return step;
        }
    }
    return error_set(reader->error, EX_CONFIG, "%s: its interpolation leads in a circle", key);
}

static int get_boolean(struct reader *reader, const char *key, bool fallback, bool *value) {
    static const char *const words[] = {"false", "no", "off", "true", "yes", "on"};
    const char *text;
    if (get_text(reader, key, &text) < 0)
        return -1;
    *value = fallback;
    if (!text)
        return 0;
    for (int i = 0; i < 6; i++) {
        if (strcasecmp(text, words[i]) == 0) {
            *value = i >= 3;
            return 0;
        }
    }
    return error_set(reader->error, EX_CONFIG, "%s: %s: neither true nor false", key, text);
}

/* Reads a whole number from 1 to maximum. A fallback of 0 means that the key must be present. */
static int get_number(struct reader *reader, const char *key, uint32_t fallback, uint32_t maximum,
                      uint32_t *value) {
    const char *text;
    if (get_text(reader, key, &text) < 0)
        return -1;
    *value = fallback;
    if (!text)
        return fallback ? 0 : error_set(reader->error, EX_CONFIG, "%s: the key is missing", key);
    size_t digits = strspn(text, "0123456789");
    uint64_t number = strtoull(text, NULL, 10);
    if (digits == 0 || digits > 18 || text[digits] || number < 1 || number > maximum)
        return error_set(reader->error, EX_CONFIG, "%s: %s: not a number from 1 to %" PRIu32, key,
                         text, maximum);
    *value = (uint32_t)number;
    return 0;
}

static int get_epsilon(struct reader *reader, float *epsilon) {
    static const char key[] = "layernorm_epsilon";
    const char *text;
    if (get_text(reader, key, &text) < 0)
        return -1;
    *epsilon = 1e-5F;
    if (!text)
        return 0;
    char *end;
    *epsilon = strtof(text, &end);
    if (*end || end == text || !(*epsilon > 0 && *epsilon < 1))
        return error_set(reader->error, EX_CONFIG, "%s: %s: not between 0 and 1", key, text);
    return 0;
}

static int another(struct reader *reader, const char *key, const char *value,
                   const char *expected) {
    return error_set(reader->error, EX_CONFIG,
                     "%s: %s: another architecture than ESM-1nv's; only %s can be computed", key,
                     value, expected);
}

/* Checks keys that have only one value in this architecture, which is also their default. */
static int check_words(struct reader *reader) {
    static const struct {
        const char *key, *expected;
    } words[] = {
        {"position_embedding_type", "learned_absolute"},
        {"transformer_block_type", "pre_ln"},
        {"normalization", "layernorm"},
        {"activation", "gelu"},
        {"attention_type", "multihead"},
        {"tensor_model_parallel_size", "1"},
        {"pipeline_model_parallel_size", "1"},
        {"num_tokentypes", "0"},
        {"tokenizer.library", "sentencepiece"},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const char *text;
        if (get_text(reader, words[i].key, &text) < 0)
            return -1;
        if (text && strcmp(text, words[i].expected) != 0)
            return another(reader, words[i].key, text, words[i].expected);
    }
    return 0;
}

static int check_switches(struct reader *reader) {
    static const struct {
        const char *key;
        bool expected;
    } switches[] = {
        {"megatron_legacy", false},           {"mcore_bert", false},
        {"bert_binary_head", false},          {"headscale", false},
        {"multi_query_attention", false},     {"apply_residual_connection_post_layernorm", false},
        {"normalize_attention_scores", true}, {"bias", true},
    };
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++) {
        bool value;
        if (get_boolean(reader, switches[i].key, switches[i].expected, &value) < 0)
            return -1;
        if (value != switches[i].expected)
            return another(reader, switches[i].key, value ? "true" : "false",
                           switches[i].expected ? "true" : "false");
    }
    return 0;
}

static int check_number(struct reader *reader, const char *key, uint32_t expected) {
    uint32_t value;
    if (get_number(reader, key, expected, UINT32_MAX, &value) < 0)
        return -1;
    if (value == expected)
        return 0;
    char number[16], wanted[16];
    snprintf(number, sizeof number, "%" PRIu32, value);
    snprintf(wanted, sizeof wanted, "%" PRIu32, expected);
    return another(reader, key, number, wanted);
}

static int read_positions(struct reader *reader, uint32_t *positions) {
    const char *key = "max_position_embeddings", *text;
    if (get_text(reader, key, &text) < 0)
        return -1;
    if (!text)
        key = "seq_length";
    if (get_number(reader, key, 0, WIRE_POSITIONS_MAX, positions) < 0)
        return -1;
    if (*positions < 3)
        return error_set(reader->error, EX_CONFIG, "%s: %" PRIu32 ": too few positions", key,
                         *positions);
    return 0;
}

static int read_sizes(struct reader *reader, struct model_config *config) {
    if (get_number(reader, "num_layers", 0, 4096, &config->layers) < 0 ||
        get_number(reader, "hidden_size", 0, 65536, &config->hidden) < 0 ||
        get_number(reader, "ffn_hidden_size", 0, 1u << 20, &config->ffn) < 0 ||
        get_number(reader, "num_attention_heads", 0, 1024, &config->heads) < 0 ||
        read_positions(reader, &config->positions) < 0)
        return -1;
    if (config->hidden % HEAD_SIZE)
        return error_set(reader->error, EX_CONFIG, "hidden_size: %" PRIu32 ": not a multiple of %d",
                         config->hidden, HEAD_SIZE);
    if (config->ffn % config->hidden)
        return error_set(reader->error, EX_CONFIG,
                         "ffn_hidden_size: %" PRIu32 ": not a multiple of hidden_size, %" PRIu32,
                         config->ffn, config->hidden);
    if (config->heads != config->hidden / HEAD_SIZE)
        return error_set(reader->error, EX_CONFIG,
                         "num_attention_heads: %" PRIu32
                         ": only heads of %d can be computed, %" PRIu32 " of them",
                         config->heads, HEAD_SIZE, config->hidden / HEAD_SIZE);
    return check_number(reader, "kv_channels", HEAD_SIZE) < 0
               ? -1
               : check_number(reader, "num_query_groups", config->heads);
}

/* The fused kernel, which is NeMo's default, computes the tanh form. NeMo has renamed its switch,
 * so a file has one name or the other, or both with the same value. */
static int read_gelu(struct reader *reader, enum gelu *gelu) {
    bool old_fused, fused, openai;
    if (get_boolean(reader, "bias_gelu_fusion", true, &old_fused) < 0 ||
        get_boolean(reader, "bias_activation_fusion", old_fused, &fused) < 0 ||
        get_boolean(reader, "bias_gelu_fusion", fused, &old_fused) < 0 ||
        get_boolean(reader, "openai_gelu", false, &openai) < 0)
        return -1;
    if (old_fused != fused)
        return error_set(reader->error, EX_CONFIG,
                         "bias_gelu_fusion: %s: contradicts bias_activation_fusion",
                         old_fused ? "true" : "false");
    *gelu = fused || openai ? GELU_TANH : GELU_ERF;
    return 0;
}

static int read_tokenizer_name(struct reader *reader, char member[256]) {
    const char *text;
    if (get_text(reader, "tokenizer.model", &text) < 0)
        return -1;
    if (!text || strncmp(text, "nemo:", 5) != 0 || strlen(text + 5) >= 256)
        return error_set(reader->error, EX_CONFIG,
                         "tokenizer.model: %s: not a member of the archive, nemo:NAME",
                         text ? text : "null");
    snprintf(member, 256, "%s", text + 5);
    return 0;
}

static int read_document(struct reader *reader, struct model_config *config, char tokenizer[256]) {
    const yaml_node_t *root = yaml_document_get_root_node(&reader->document);
    yaml_node_t *merged;
    if (!root || root->type != YAML_MAPPING_NODE)
        return error_set(reader->error, EX_CONFIG, "not a YAML mapping");
    if (find_key(reader, root, "<<", 2, &merged) < 0 || merged)
        return error_set(reader->error, EX_CONFIG,
                         "<<: merge keys are not understood: write the keys themselves");
    if (check_words(reader) < 0 || check_switches(reader) < 0 || read_sizes(reader, config) < 0 ||
        get_epsilon(reader, &config->epsilon) < 0 || read_gelu(reader, &config->gelu) < 0)
        return -1;
    return read_tokenizer_name(reader, tokenizer);
}

static size_t count_brackets(struct bytes file) {
    size_t count = 0;
    for (size_t i = 0; i < file.size; i++)
        count += file.data[i] == '[' || file.data[i] == '{';
    return count;
}

int config_read(struct model_config *config, char tokenizer_member[256], struct bytes file,
                struct error *error) {
    *config = (struct model_config){0};
    if (file.size > CONFIG_MAX || count_brackets(file) > BRACKETS_MAX)
        return error_set(error, EX_CONFIG, "too large, or too deeply nested, for a configuration");
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return error_set(error, EX_SOFTWARE, "out of memory");
    yaml_parser_set_input_string(&parser, file.data, file.size);
    struct reader reader = {.error = error};
    int result;
    if (yaml_parser_load(&parser, &reader.document)) {
        result = read_document(&reader, config, tokenizer_member);
        yaml_document_delete(&reader.document);
    } else if (parser.error == YAML_MEMORY_ERROR) {
        result = error_set(error, EX_SOFTWARE, "out of memory");
    } else {
        result = error_set(error, EX_CONFIG, "line %zu: not YAML: %s", parser.problem_mark.line + 1,
                           parser.problem ? parser.problem : "damaged");
    }
    yaml_parser_delete(&parser);
    return result;
}
