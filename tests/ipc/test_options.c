/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line as rows: what each kind takes and refuses, to the last number, and in what
 * words; defaults; actions; what stands where on the command line; the help.
 */
#include "ipc/base/options.h"
#include "tests/check.h"

#include <string.h>
#include <unistd.h>

static const char *const colours[] = {"red", "green", "blue", NULL};
static const char *const forms[] = {"table", "json", NULL};

struct settings {
    bool loud, colour_given, json;
    unsigned colour;
    const char *named;
    unsigned small;
    uint64_t large;
    unsigned wait;
    const char *text;
    unsigned untouched;
};

static bool is_short(const char *text) {
    return strlen(text) < 5;
}

#define INTO(member) OPTION_INTO(struct settings, member)
static const struct option_row rows[] = {
    {"loud", 'l', OPTION_FLAG, INTO(loud), .group = "First", .help = "more"},
    {"colour", 'c', OPTION_CHOICE, INTO(colour), .names = colours, .standard = "green",
     .given = offsetof(struct settings, colour_given), .help = "of the output"},
    {"named", '\0', OPTION_CHOICE, INTO(named), .names = colours, .means = colours, .help = "one"},
    {"small", 's', OPTION_NUMBER, INTO(small), .least = 2, .most = 4096, .value = "N",
     .standard = "1K", .help = "a number whose meaning takes more words than one line can have"},
    {"large", '\0', OPTION_NUMBER, INTO(large), .most = UINT64_MAX, .value = "BYTES",
     .help = "any"},
    {"wait", '\0', OPTION_SECONDS, INTO(wait), .most = 60, .value = "SECONDS", .standard = "30",
     .help = "before it gives up"},
    {"text", 't', OPTION_TEXT, INTO(text), .accepts = is_short, .wanted = "a short text",
     .value = "A-VALUE-WITH-A-VERY-LONG-NAME", .help = "anything"},
    {"show", '\0', OPTION_ACTION, INTO(json), .names = forms, .value = "[=json]", .group = "Second",
     .help = "shows"},
    {"stop", '\0', OPTION_ACTION, .help = "stops"},
    {"about", '\0', OPTION_ACTION_LAST, .help = "tells"},
};
static const struct option_table table = {.program = "tool",
                                          .rows = rows,
                                          .count = sizeof rows / sizeof *rows,
                                          .usage = "Usage\n",
                                          .ending = "End\n"};

static struct settings settings;
static const struct option_row *action;
static char error[OPTION_TEXT_MAX];
static char *arguments[8];

/* Reads up to six arguments, which end at the first NULL. */
static int read_line(const char *const given[6]) {
    static char copies[8][64] = {"program"};
    int count = 1;
    arguments[0] = copies[0];
    for (; count < 7 && given[count - 1]; count++)
        arguments[count] = strcpy(copies[count], given[count - 1]);
    arguments[count] = NULL;
    memset(&settings, 0, sizeof settings);
    settings.untouched = 77;
    error[0] = '\0';
    extern int optind;
    optind = 0; /* glibc's getopt() begins anew */
    return option_table_read(&table, &settings, &action, count, arguments, error);
}
#define READ(...) read_line((const char *const[6]){__VA_ARGS__})
#define REFUSED(text, ...)                                                                         \
    CHECK(READ(__VA_ARGS__) == -1 && strcmp(error, text) == 0, "'%s', not '%s'", error, text)

TEST("defaults are read as if they had been given, and the rest is left alone") {
    CHECK(READ(NULL) == 1 && !action, "%s", error);
    CHECK(settings.colour == 1 && settings.small == 1024 && settings.wait == 30, "defaults");
    CHECK(!settings.loud && !settings.colour_given && !settings.text, "what has none");
    CHECK(settings.untouched == 77, "what no row names");
}

TEST("each kind goes to its place") {
    CHECK(READ("-l", "--colour=blue", "--named", "red", "-tabc", "--wait=0") == 7, "%s", error);
    CHECK(settings.loud && settings.colour == 2 && settings.colour_given, "flag or choice");
    CHECK(settings.named == colours[0] && settings.wait == 0, "pointer or seconds");
    CHECK(settings.text && strcmp(settings.text, "abc") == 0, "text");
    CHECK(READ("--col", "blue", "-c", "red") == 5 && settings.colour == 0, "the last one counts");
    CHECK(READ("a", "-l", "b", "--", "-x") == 3 && settings.loud, "%s", error);
    CHECK(strcmp(arguments[3], "a") == 0 && strcmp(arguments[5], "-x") == 0, "%s", arguments[3]);
    REFUSED("--colour: 'pink' is not one of red, green, blue", "--colour", "pink");
    REFUSED("--text: 'lengthy' is not a short text", "-t", "lengthy");
}

static void refuse_number(const char *text) {
    CHECK(READ("--large", text) == -1, "%s was taken", text);
    CHECK(strncmp(error, "--large: '", 10) == 0 && strstr(error, text), "%s", error);
}

TEST("numbers to their limits, and no further") {
    static const struct {
        const char *text;
        uint64_t value;
    } large[] = {{"0", 0},
                 {"7K", 7 << 10},
                 {"7Ki", 7 << 10},
                 {"3M", 3 << 20},
                 {"3Mi", 3 << 20},
                 {"5G", UINT64_C(5) << 30},
                 {"17179869183Gi", UINT64_C(17179869183) << 30},
                 {"18446744073709551615", UINT64_MAX}};
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
        CHECK(READ("--large", large[i].text) == 3 && settings.large == large[i].value, "%s: %s",
              large[i].text, error);
    static const char *const bad[] = {"",    "x",    "-1", "+1", " 1",  "1.5",  "1T",
                                      "1KK", "1Mix", "1i", "1k", "0x1", "1Kii", "1 "};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuse_number(bad[i]);
    refuse_number("18446744073709551616");
    refuse_number("17179869184G");
    refuse_number("18446744073709551615K");
    CHECK(READ("-s", "2") == 3 && settings.small == 2, "%s", error);
    CHECK(READ("-s", "4K") == 3 && settings.small == 4096, "%s", error);
    REFUSED("--small: '1' is not a number from 2 to 4096", "--small=1");
    REFUSED("--small: '4097' is not a number from 2 to 4096", "-s4097");
    REFUSED("--wait: '61' is not a number of seconds from 0 to 60", "--wait", "61");
    REFUSED("--wait: '0K' is not a number of seconds from 0 to 60", "--wait", "0K");
}

TEST("one action at a time, but the last kind wins at once") {
    CHECK(READ("--show") == 2 && strcmp(action->name, "show") == 0 && !settings.json, "%s", error);
    CHECK(READ("--show=json", "--show=json") == 3 && settings.json, "%s", error);
    CHECK(READ("--stop", "--about", "--nonsense") == 4 && strcmp(action->name, "about") == 0, "%s",
          error);
    REFUSED("--show and --stop cannot be used together", "--show", "--stop");
    REFUSED("--show: 'xml' is not one of table, json", "--show=xml");
}

TEST("what is no option is named") {
    REFUSED("unknown, ambiguous or wrongly used option --no; see tool --help", "--no");
    REFUSED("unknown, ambiguous or wrongly used option --s; see tool --help", "--s");
    REFUSED("unknown, ambiguous or wrongly used option --stop=x; see tool --help", "--stop=x");
    REFUSED("unknown option -x; see tool --help", "-x");
    REFUSED("--wait needs a value; see tool --help", "--wait");
    REFUSED("-t needs a value; see tool --help", "-t");
}

TEST("names in a sentence") {
    static const char *const none[] = {NULL}, *const one[] = {"a", NULL};
    char list[OPTION_TEXT_MAX];
    option_names_list(colours, " or ", list);
    CHECK(strcmp(list, "red, green or blue") == 0, "%s", list);
    option_names_list(one, " or ", list);
    CHECK(strcmp(list, "a") == 0, "%s", list);
    option_names_list(none, " or ", list);
    CHECK(strcmp(list, "") == 0, "%s", list);
}

TEST("the help") {
    static const char wanted[] =
        "Usage\n"
        "First\n"
        "  -l, --loud                        more\n"
        "  -c, --colour red|green|blue       of the output (green)\n"
        "      --named red|green|blue        one\n"
        "  -s, --small N                     a number whose meaning takes more words than\n"
        "                                    one line can have (1K)\n"
        "      --large BYTES                 any\n"
        "      --wait SECONDS                before it gives up (30)\n"
        "  -t, --text A-VALUE-WITH-A-VERY-LONG-NAME\n"
        "                                    anything\n"
        "Second\n"
        "      --show[=json]                 shows\n"
        "      --stop                        stops\n"
        "      --about                       tells\n"
        "End\n";
    char got[sizeof wanted + 100] = "";
    FILE *file = tmpfile();
    fflush(stdout);
    int kept = dup(STDOUT_FILENO);
    dup2(fileno(file), STDOUT_FILENO);
    option_table_help(&table);
    fflush(stdout);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    CHECK(pread(fileno(file), got, sizeof got - 1, 0) == sizeof wanted - 1, "another length");
    CHECK(strcmp(got, wanted) == 0, "%s", got);
    fclose(file);
}

int main(void) {
    test_run();
    return test_done();
}
