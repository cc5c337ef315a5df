/* Lion in C, behind the protocol of docs/conformance-exec.md: an example to begin a client from.
 *
 *     cc -std=c99 -O2 -ffp-contract=off -o my_lion conformance/examples/lion.c
 *     lion-conformance run --exec ./my_lion --level bitwise
 *
 * A request is one line with a JSON object, and so is an answer. The program serves one optimizer
 * and ends with its input. It offers float32, float64 and the mask; what it does not name in its
 * answer to "hello" it is never asked for. It depends on libc alone, and on little-endian memory.
 */

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The optimizer: specification L-001, one operation at a time --------------------------- */

typedef struct {
    double lr, b1, b2, wd;
} Scalars;

/* L-006: 1-b is formed in double from the numbers as given, then each scalar is rounded once. */
#define DEFINE_UPDATE(real)                                                                  \
    static real sign_##real(real c) { return c > 0 ? 1 : c < 0 ? -1 : c == 0 ? 0 : c; }      \
    static void update_##real(real *x, real *m, const real *g, size_t size, Scalars s)       \
    {                                                                                        \
        const real lr = (real)s.lr, wd = (real)s.wd;                                         \
        const real b1 = (real)s.b1, one_minus_b1 = (real)(1 - s.b1);                         \
        const real b2 = (real)s.b2, one_minus_b2 = (real)(1 - s.b2);                         \
        for (size_t i = 0; i < size; i++) {                                                  \
            real u = sign_##real(b1 * m[i] + one_minus_b1 * g[i]);                           \
            m[i] = b2 * m[i] + one_minus_b2 * g[i];                                          \
            x[i] = x[i] - lr * (wd == 0 ? u : u + wd * x[i]); /* L-009: no decay, no term */ \
        }                                                                                    \
    }
DEFINE_UPDATE(float)
DEFINE_UPDATE(double)

/* ---- JSON: numbers, plain strings, lists and objects --------------------------------------- */

typedef struct Json {
    enum { NOTHING, NUMBER, STRING, LIST, OBJECT } kind; /* NOTHING: null; true and false: 1 and 0 */
    const char *key;                                     /* in an object */
    double number;
    const char *string;
    struct Json *first, *next;                           /* children of a list or an object */
} Json;

static void fail(const char *why)
{
    fprintf(stderr, "lion.c: %s\n", why);
    exit(1);
}

static void *allocate(size_t size)
{
    void *memory = calloc(size ? size : 1, 1);
    if (memory == NULL) fail("out of memory");
    return memory;
}

static void skip(char **at, const char *characters) { *at += strspn(*at, characters); }

/* A string ends in place with a zero; the suite's names and words have no escapes. */
static const char *parse_string(char **at)
{
    char *begin = *at + 1, *end = strchr(begin, '"');
    if (end == NULL) fail("a string without an end");
    *end = '\0';
    *at = end + 1;
    return begin;
}

static Json *parse(char **at)
{
    Json *json = allocate(sizeof *json);
    skip(at, " ,\n");
    if (**at == '{' || **at == '[') {
        const char close = **at == '{' ? '}' : ']';
        Json **last = &json->first;
        json->kind = **at == '{' ? OBJECT : LIST;
        for (++*at, skip(at, " "); **at != close; skip(at, " ,")) {
            const char *key = json->kind == OBJECT ? parse_string(at) : NULL;
            skip(at, " :");
            *last = parse(at);
            (*last)->key = key;
            last = &(*last)->next;
        }
        ++*at;
    } else if (**at == '"') {
        json->kind = STRING;
        json->string = parse_string(at);
    } else if (strncmp(*at, "null", 4) == 0) {
        *at += 4;
    } else if (strncmp(*at, "true", 4) == 0 || strncmp(*at, "false", 5) == 0) {
        json->kind = NUMBER;
        json->number = **at == 't';
        *at += **at == 't' ? 4 : 5;
    } else {
        char *end;
        json->kind = NUMBER;
        json->number = strtod(*at, &end);
        if (end == *at) fail("not JSON");
        *at = end;
    }
    return json;
}

static void release(Json *json)
{
    while (json != NULL) {
        Json *next = json->next;
        release(json->first);
        free(json);
        json = next;
    }
}

/* A member of an object; NULL where there is none, or null. */
static Json *member(const Json *object, const char *key)
{
    for (Json *at = object->first; at != NULL; at = at->next)
        if (strcmp(at->key, key) == 0) return at->kind == NOTHING ? NULL : at;
    return NULL;
}

/* ---- Arrays: two hexadecimal digits a byte, little-endian ---------------------------------- */

static int digit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

static void *read_bytes(const char *hex, size_t *size)
{
    *size = strlen(hex) / 2;
    uint8_t *bytes = allocate(*size);
    for (size_t i = 0; i < *size; i++)
        bytes[i] = (uint8_t)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
    return bytes;
}

static void write_bytes(const void *memory, size_t size)
{
    const uint8_t *bytes = memory;
    for (size_t i = 0; i < size; i++) {
        putchar("0123456789abcdef"[bytes[i] >> 4]);
        putchar("0123456789abcdef"[bytes[i] & 15]);
    }
}

static bool is_double(const Json *array)
{
    return strcmp(member(array, "dtype")->string, "float64") == 0;
}

/* ---- Parameters, and the requests ---------------------------------------------------------- */

typedef struct Parameter {
    char *name;
    bool wide;            /* float64, else float32 */
    char shape[128];      /* as JSON */
    size_t size;          /* elements */
    void *x, *m;
    bool decays;
    struct Parameter *next;
} Parameter;

static Parameter *parameters;
static Scalars settings;

static size_t bytes_of(const Parameter *p) { return p->size * (p->wide ? 8 : 4); }

static Parameter *find(const char *name)
{
    for (Parameter *p = parameters; p != NULL; p = p->next)
        if (strcmp(p->name, name) == 0) return p;
    fail("an unknown parameter");
    return NULL;
}

/* The gradient in the dtype of its parameter (L-005). */
static void *gradient(const Json *array, const Parameter *p)
{
    size_t size;
    void *bytes = read_bytes(member(array, "hex")->string, &size);
    if (is_double(array) == p->wide) return bytes;
    void *converted = allocate(bytes_of(p));
    for (size_t i = 0; i < p->size; i++)
        if (p->wide)
            ((double *)converted)[i] = ((float *)bytes)[i];
        else
            ((float *)converted)[i] = (float)((double *)bytes)[i];
    free(bytes);
    return converted;
}

/* NULL, or what is wrong with a setting (L-020); it is taken over where nothing is. */
static const char *set(const Json *setting)
{
    const bool number = setting->kind == NUMBER && isfinite(setting->number);
    if (strcmp(setting->key, "lr") == 0 || strcmp(setting->key, "weight_decay") == 0) {
        if (!number || setting->number < 0) return "lr and weight_decay have to be finite, and >= 0";
        *(setting->key[0] == 'l' ? &settings.lr : &settings.wd) = setting->number;
    } else if (strcmp(setting->key, "betas") == 0) {
        const double b1 = setting->first->number, b2 = setting->first->next->number;
        if (!(b1 >= 0 && b1 < 1 && b2 >= 0 && b2 < 1)) return "betas have to be in [0, 1)";
        settings.b1 = b1;
        settings.b2 = b2;
    } else {
        return "unknown setting";
    }
    return NULL;
}

static const char *start(const Json *request)
{
    settings = (Scalars){1e-4, 0.9, 0.99, 0.0}; /* L-004, for a config that leaves them out */
    for (Json *s = member(request, "config")->first; s != NULL; s = s->next) {
        const char *problem = set(s);
        if (problem != NULL) return problem;
    }
    const Json *mask = member(request, "mask");
    for (Json *array = member(request, "params")->first; array != NULL; array = array->next) {
        Parameter *p = allocate(sizeof *p);
        p->name = strcpy(allocate(strlen(array->key) + 1), array->key);
        p->wide = is_double(array);
        size_t length = 0;
        for (Json *n = member(array, "shape")->first; n != NULL; n = n->next)
            length += (size_t)snprintf(p->shape + length, sizeof p->shape - length, "%s%.0f",
                                       length ? ", " : "", n->number);
        p->x = read_bytes(member(array, "hex")->string, &p->size);
        p->size /= p->wide ? 8 : 4;
        p->m = allocate(bytes_of(p)); /* L-002: zero */
        p->decays = mask == NULL || member(mask, array->key)->number != 0;
        p->next = parameters;
        parameters = p;
    }
    return NULL;
}

static void step(const Json *request)
{
    for (Json *array = member(request, "grads")->first; array != NULL; array = array->next) {
        if (array->kind == NOTHING) continue; /* L-003: no gradient, no step */
        Parameter *p = find(array->key);
        void *g = gradient(array, p);
        Scalars s = settings;
        s.lr = member(request, "lr")->number;
        if (!p->decays) s.wd = 0;
        if (p->wide)
            update_double(p->x, p->m, g, p->size, s);
        else
            update_float(p->x, p->m, g, p->size, s);
        free(g);
    }
}

static void load(const Json *arrays, bool momentum)
{
    for (Json *array = arrays->first; array != NULL; array = array->next) {
        Parameter *p = find(array->key);
        size_t size;
        void *bytes = read_bytes(member(array, "hex")->string, &size);
        memcpy(momentum ? p->m : p->x, bytes, size);
        free(bytes);
    }
}

static void show(const char *what, bool momentum)
{
    printf("{\"%s\": {", what);
    for (const Parameter *p = parameters; p != NULL; p = p->next) {
        printf("\"%s\": {\"dtype\": \"%s\", \"shape\": [%s], \"hex\": \"", p->name,
               p->wide ? "float64" : "float32", p->shape);
        write_bytes(momentum ? p->m : p->x, bytes_of(p));
        printf("\"}%s", p->next != NULL ? ", " : "");
    }
    puts("}}");
}

static void serve(const Json *request)
{
    const char *what = member(request, "do")->string, *problem = NULL;
    if (strcmp(what, "hello") == 0) {
        puts("{\"protocol\": 1, \"name\": \"lion.c\", \"version\": \"1.0\", "
             "\"dtypes\": [\"float32\", \"float64\"], \"options\": [\"mask\"], "
             "\"commands\": [\"momentum\", \"load\"]}");
        return;
    }
    if (strcmp(what, "params") == 0 || strcmp(what, "momentum") == 0) {
        show(what, strcmp(what, "momentum") == 0);
        return;
    }
    if (strcmp(what, "start") == 0) {
        problem = start(request);
    } else if (strcmp(what, "step") == 0) {
        step(request);
    } else if (strcmp(what, "load") == 0) {
        load(member(request, "params"), false);
        load(member(request, "momentum"), true);
    } else {
        problem = "unknown request";
    }
    if (problem != NULL)
        printf("{\"error\": \"%s\"}\n", problem);
    else
        puts("{}");
}

/* A line of any length, without its end; NULL at the end of the input. */
static char *read_line(void)
{
    size_t length = 0, room = 4096;
    char *line = allocate(room);
    while (fgets(line + length, (int)(room - length < 1 << 30 ? room - length : 1 << 30), stdin)) {
        length += strlen(line + length);
        if (line[length - 1] == '\n') return line;
        if (length + 1 == room && (line = realloc(line, room *= 2)) == NULL) fail("out of memory");
    }
    free(line);
    return NULL;
}

int main(void)
{
    char *line;
    while ((line = read_line()) != NULL) {
        char *at = line;
        Json *request = parse(&at);
        serve(request);
        fflush(stdout);
        release(request);
        free(line);
    }
    return 0;
}
