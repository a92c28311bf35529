/* llorch_tap.h: write what an engine computes as a capture that `llorch diff` reads. One file, C99 and POSIX, no
 * dependencies; include it where the tensors are.
 *
 *     llorch_tap *tap = llorch_tap_open("out/mine");
 *     llorch_tap_text(tap, "engine", "my-engine");
 *     llorch_tap_token_ids(tap, ids, count);
 *     llorch_tap_prompt(tap, "Hello.");
 *     llorch_tap_f32(tap, "cp01.ln_1", values, shape, 2);        // copied: the buffer may change afterwards
 *     if (llorch_tap_close(tap) != 0) { fputs(llorch_tap_error(), stderr); }
 *
 * The folder appears whole, when it is closed, or not at all. Tensors are row-major; their names are those of a capture:
 * cp01.ln_1 [T, C], cp02.q [T, H, D], cp03.step0.k [N, H, D], cp04.scores [H, T, N], ... with .L07 for layer 7.
 *
 * The parity log, one line for each tensor, where the variable ORCH_LOG_FILE says:
 *
 *     llorch_log *log = llorch_log_open("my-engine", "1.0", "model");   // NULL where the variable is not set
 *     llorch_log_f32(log, "cp01.ln_1", layer, token_idx, values, shape, 2, "job-1");   // NULL is allowed: it does nothing
 *     llorch_log_close(log);
 *
 * Not for several threads at once. Functions return 0, or -1 and llorch_tap_error() says why. */
#ifndef LLORCH_TAP_H
#define LLORCH_TAP_H

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define LLORCH_MAX_RANK 8
#define LLORCH_MAX_PATH 4096

static inline char *llorch_tap_error_buffer(void) {
    static char text[512];
    return text;
}

static inline const char *llorch_tap_error(void) { return llorch_tap_error_buffer(); }

static inline int llorch_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(llorch_tap_error_buffer(), 512, format, arguments);
    va_end(arguments);
    return -1;
}

/* ---- SHA-256 (FIPS 180-4) ---- */

typedef struct {
    uint32_t state[8];
    uint64_t length;
    unsigned char block[64];
} llorch_sha256;

static inline uint32_t llorch_rotate(uint32_t x, int by) { return (x >> by) | (x << (32 - by)); }

static inline void llorch_sha256_block(llorch_sha256 *sha, const unsigned char *bytes) {
    static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++) {
        w[i] = (uint32_t)bytes[4 * i] << 24 | (uint32_t)bytes[4 * i + 1] << 16 | (uint32_t)bytes[4 * i + 2] << 8 |
               bytes[4 * i + 3];
    }
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (llorch_rotate(a, 7) ^ llorch_rotate(a, 18) ^ a >> 3) + w[i - 7] +
               (llorch_rotate(b, 17) ^ llorch_rotate(b, 19) ^ b >> 10);
    }
    memcpy(s, sha->state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t e = llorch_rotate(s[4], 6) ^ llorch_rotate(s[4], 11) ^ llorch_rotate(s[4], 25);
        uint32_t one = s[7] + e + ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
        uint32_t a = llorch_rotate(s[0], 2) ^ llorch_rotate(s[0], 13) ^ llorch_rotate(s[0], 22);
        uint32_t two = a + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof s[0]);
        s[4] += one;
        s[0] = one + two;
    }
    for (int i = 0; i < 8; i++) sha->state[i] += s[i];
}

static inline void llorch_sha256_begin(llorch_sha256 *sha) {
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(sha->state, start, sizeof start);
    sha->length = 0;
}

static inline void llorch_sha256_add(llorch_sha256 *sha, const void *data, size_t length) {
    const unsigned char *bytes = (const unsigned char *)data;
    while (length > 0) {
        size_t filled = (size_t)(sha->length % 64), take = 64 - filled < length ? 64 - filled : length;
        memcpy(sha->block + filled, bytes, take);
        sha->length += take, bytes += take, length -= take;
        if (sha->length % 64 == 0) llorch_sha256_block(sha, sha->block);
    }
}

/* hex: room for 65 characters */
static inline void llorch_sha256_end(llorch_sha256 *sha, char *hex) {
    uint64_t bits = sha->length * 8;
    unsigned char one = 0x80, zero = 0, length[8];
    llorch_sha256_add(sha, &one, 1);
    while (sha->length % 64 != 56) llorch_sha256_add(sha, &zero, 1);
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)(bits >> (56 - 8 * i));
    llorch_sha256_add(sha, length, 8);
    for (int i = 0; i < 8; i++) snprintf(hex + 8 * i, 9, "%08x", (unsigned)sha->state[i]);
}

/* ---- text ---- */

typedef struct {
    char *text;
    size_t length, room;
    int failed;
} llorch_string;

static inline void llorch_put_bytes(llorch_string *string, const char *bytes, size_t length) {
    if (string->failed) return;
    if (string->length + length + 1 > string->room) {
        size_t room = (string->length + length + 1) * 2;
        char *text = (char *)realloc(string->text, room);
        if (text == NULL) {
            string->failed = 1;
            return;
        }
        string->text = text, string->room = room;
    }
    memcpy(string->text + string->length, bytes, length);
    string->length += length;
    string->text[string->length] = 0;
}

static inline void llorch_put(llorch_string *string, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof text) string->failed = 1;
    else llorch_put_bytes(string, text, (size_t)length);
}

/* Bytes of the valid UTF-8 character at the start, 0 where there is none. */
static inline size_t llorch_character(const unsigned char *bytes, size_t length) {
    unsigned char first = bytes[0];
    size_t need = first < 0x80 ? 1 : first >= 0xc2 && first < 0xe0 ? 2 : first >= 0xe0 && first < 0xf0 ? 3
                  : first >= 0xf0 && first < 0xf5 ? 4 : 0;
    if (need == 0 || need > length) return 0;
    for (size_t i = 1; i < need; i++) {
        if ((bytes[i] & 0xc0) != 0x80) return 0;
    }
    if (need == 3 && ((first == 0xe0 && bytes[1] < 0xa0) || (first == 0xed && bytes[1] > 0x9f))) return 0;
    if (need == 4 && ((first == 0xf0 && bytes[1] < 0x90) || (first == 0xf4 && bytes[1] > 0x8f))) return 0;
    return need;
}

/* A JSON string; bytes that form no character are left out. */
static inline void llorch_put_json(llorch_string *string, const char *bytes, size_t length) {
    llorch_put(string, "\"");
    for (size_t at = 0; at < length;) {
        const unsigned char *byte = (const unsigned char *)bytes + at;
        size_t size = llorch_character(byte, length - at);
        if (size == 0) {
            at++;
            continue;
        }
        if (*byte == '"' || *byte == '\\') llorch_put(string, "\\%c", *byte);
        else if (*byte < 0x20) llorch_put(string, "\\u%04x", *byte);
        else llorch_put_bytes(string, (const char *)byte, size);
        at += size;
    }
    llorch_put(string, "\"");
}

/* A JSON number; what JSON has no number for, as a string. `digits`: 9 for an f32, 17 for an f64. */
static inline void llorch_put_number(llorch_string *string, double value, int digits) {
    char text[64];
    if (isnan(value)) llorch_put(string, "\"nan\"");
    else if (isinf(value)) llorch_put(string, value > 0 ? "\"inf\"" : "\"-inf\"");
    else {
        snprintf(text, sizeof text, "%.*g", digits, value);
        for (char *c = text; *c; c++) {
            if (*c == ',') *c = '.'; /* some locales */
        }
        llorch_put(string, "%s", text);
    }
}

/* ---- tensors ---- */

typedef enum { LLORCH_F32, LLORCH_F64, LLORCH_I64 } llorch_dtype;

typedef struct {
    char *name;
    llorch_dtype dtype;
    int rank;
    uint64_t shape[LLORCH_MAX_RANK], count;
    unsigned char *values; /* little-endian */
} llorch_tensor;

static inline const char *llorch_dtype_name(llorch_dtype dtype) {
    return dtype == LLORCH_F32 ? "F32" : dtype == LLORCH_F64 ? "F64" : "I64";
}

static inline size_t llorch_width(llorch_dtype dtype) { return dtype == LLORCH_F32 ? 4 : 8; }

static inline int llorch_is_little_endian(void) {
    uint16_t one = 1;
    return *(unsigned char *)&one;
}

/* The number as an f64 (an I64 above 2^53 loses digits in statistics, never in the tensor). */
static inline double llorch_number(const llorch_tensor *tensor, uint64_t index) {
    const unsigned char *bytes = tensor->values + index * llorch_width(tensor->dtype);
    uint64_t bits = 0;
    for (size_t i = 0; i < llorch_width(tensor->dtype); i++) bits |= (uint64_t)bytes[i] << (8 * i);
    if (tensor->dtype == LLORCH_F32) {
        uint32_t low = (uint32_t)bits;
        float value;
        memcpy(&value, &low, 4);
        return value;
    }
    if (tensor->dtype == LLORCH_F64) {
        double value;
        memcpy(&value, &bits, 8);
        return value;
    }
    return (double)(int64_t)bits;
}

static inline int llorch_fill(llorch_tensor *tensor, const char *name, llorch_dtype dtype, const void *values,
                              const uint64_t *shape, int rank) {
    memset(tensor, 0, sizeof *tensor);
    if (rank < 0 || rank > LLORCH_MAX_RANK) return llorch_fail("%s: %d dimensions; at most 8", name, rank);
    if (strlen(name) == 0 || strlen(name) > 256) return llorch_fail("a tensor's name has 1 to 256 bytes");
    tensor->dtype = dtype, tensor->rank = rank, tensor->count = 1;
    for (int i = 0; i < rank; i++) {
        tensor->shape[i] = shape[i];
        if (shape[i] != 0 && tensor->count > (UINT64_C(1) << 48) / shape[i]) return llorch_fail("%s: too large", name);
        tensor->count *= shape[i];
    }
    size_t width = llorch_width(dtype), bytes = (size_t)tensor->count * width;
    tensor->values = (unsigned char *)malloc(bytes + 1);
    tensor->name = (char *)malloc(strlen(name) + 1);
    if (tensor->values == NULL || tensor->name == NULL) {
        free(tensor->values), free(tensor->name);
        return llorch_fail("%s: no memory for %llu bytes", name, (unsigned long long)bytes);
    }
    strcpy(tensor->name, name);
    memcpy(tensor->values, values, bytes);
    for (size_t at = 0; !llorch_is_little_endian() && at < bytes; at += width) {
        for (size_t i = 0; i < width / 2; i++) {
            unsigned char byte = tensor->values[at + i];
            tensor->values[at + i] = tensor->values[at + width - 1 - i];
            tensor->values[at + width - 1 - i] = byte;
        }
    }
    return 0;
}

static inline void llorch_free_tensor(llorch_tensor *tensor) { free(tensor->name), free(tensor->values); }

static inline void llorch_put_value(llorch_string *string, const llorch_tensor *tensor, uint64_t index) {
    if (tensor->dtype == LLORCH_I64) {
        uint64_t bits = 0;
        for (int i = 0; i < 8; i++) bits |= (uint64_t)tensor->values[index * 8 + (uint64_t)i] << (8 * i);
        llorch_put(string, "%lld", (long long)(int64_t)bits);
    } else {
        llorch_put_number(string, llorch_number(tensor, index), tensor->dtype == LLORCH_F32 ? 9 : 17);
    }
}

static inline void llorch_put_values(llorch_string *string, const llorch_tensor *tensor, uint64_t from, uint64_t to) {
    llorch_put(string, "[");
    for (uint64_t i = from; i < to; i++) {
        if (i > from) llorch_put(string, ", ");
        llorch_put_value(string, tensor, i);
    }
    llorch_put(string, "]");
}

static inline void llorch_put_shape(llorch_string *string, const llorch_tensor *tensor) {
    llorch_put(string, "[");
    for (int i = 0; i < tensor->rank; i++) {
        llorch_put(string, i ? ", %llu" : "%llu", (unsigned long long)tensor->shape[i]);
    }
    llorch_put(string, "]");
}

/* hex: room for 65 characters */
static inline void llorch_tensor_sha256(const llorch_tensor *tensor, char *hex) {
    llorch_sha256 sha;
    llorch_sha256_begin(&sha);
    llorch_sha256_add(&sha, tensor->values, (size_t)tensor->count * llorch_width(tensor->dtype));
    llorch_sha256_end(&sha, hex);
}

/* "count": ... "inf": ...; least, largest, mean and Euclidean norm of the finite numbers. */
static inline void llorch_put_statistics(llorch_string *string, const llorch_tensor *tensor) {
    double min = NAN, max = NAN, sum = 0, squares = 0;
    uint64_t finite = 0, nan = 0, inf = 0;
    for (uint64_t i = 0; i < tensor->count; i++) {
        double value = llorch_number(tensor, i);
        if (isnan(value)) nan++;
        else if (isinf(value)) inf++;
        else {
            if (finite == 0 || value < min) min = value;
            if (finite == 0 || value > max) max = value;
            sum += value, squares += value * value, finite++;
        }
    }
    int digits = tensor->dtype == LLORCH_F32 ? 9 : 17;
    llorch_put(string, "\"count\": %llu, \"min\": ", (unsigned long long)tensor->count);
    llorch_put_number(string, min, digits);
    llorch_put(string, ", \"max\": ");
    llorch_put_number(string, max, digits);
    llorch_put(string, ", \"mean\": ");
    llorch_put_number(string, finite ? sum / (double)finite : NAN, 17);
    llorch_put(string, ", \"l2\": ");
    llorch_put_number(string, finite ? sqrt(squares) : NAN, 17);
    llorch_put(string, ", \"nan\": %llu, \"inf\": %llu", (unsigned long long)nan, (unsigned long long)inf);
}

/* ---- a capture ---- */

typedef struct {
    char directory[LLORCH_MAX_PATH];
    llorch_string fields; /* of the manifest, each with a comma behind it */
    llorch_tensor *tensors;
    size_t count, room;
    int failed;
} llorch_tap;

/* The directory must not exist yet, and the one above it must. NULL: no memory, or a path that is too long. */
static inline llorch_tap *llorch_tap_open(const char *directory) {
    llorch_tap *tap = (llorch_tap *)calloc(1, sizeof *tap);
    size_t length = strlen(directory);
    while (length > 1 && directory[length - 1] == '/') length--;
    if (tap == NULL || length == 0 || length > LLORCH_MAX_PATH - 64) {
        free(tap);
        llorch_fail("%s: no memory, or a path too long", directory);
        return NULL;
    }
    memcpy(tap->directory, directory, length);
    return tap;
}

/* A text field of the manifest: engine, engine_version, model, architecture, model_digest, weights_dtype, compute_dtype,
 * taps, tolerance_profile. */
static inline void llorch_tap_text(llorch_tap *tap, const char *field, const char *text) {
    llorch_put(&tap->fields, "  \"%s\": ", field);
    llorch_put_json(&tap->fields, text, strlen(text));
    llorch_put(&tap->fields, ",\n");
}

/* A number field: start_pos, steps. */
static inline void llorch_tap_count(llorch_tap *tap, const char *field, uint64_t value) {
    llorch_put(&tap->fields, "  \"%s\": %llu,\n", field, (unsigned long long)value);
}

static inline void llorch_tap_sizes(llorch_tap *tap, uint64_t n_layer, uint64_t n_head, uint64_t n_embd, uint64_t n_ctx,
                                    uint64_t vocab_size) {
    llorch_put(&tap->fields,
               "  \"sizes\": {\"n_layer\": %llu, \"n_head\": %llu, \"n_embd\": %llu, \"n_ctx\": %llu, "
               "\"vocab_size\": %llu},\n",
               (unsigned long long)n_layer, (unsigned long long)n_head, (unsigned long long)n_embd,
               (unsigned long long)n_ctx, (unsigned long long)vocab_size);
}

/* The prompt's. */
static inline void llorch_tap_token_ids(llorch_tap *tap, const uint32_t *ids, size_t count) {
    llorch_put(&tap->fields, "  \"token_ids\": [");
    for (size_t i = 0; i < count; i++) llorch_put(&tap->fields, i ? ", %lu" : "%lu", (unsigned long)ids[i]);
    llorch_put(&tap->fields, "],\n");
}

static inline void llorch_tap_prompt(llorch_tap *tap, const char *prompt) {
    llorch_sha256 sha;
    char hex[65];
    llorch_sha256_begin(&sha);
    llorch_sha256_add(&sha, prompt, strlen(prompt));
    llorch_sha256_end(&sha, hex);
    llorch_tap_text(tap, "prompt_sha256", hex);
}

/* What was generated, as bytes: it may end inside a character. */
static inline void llorch_tap_generated(llorch_tap *tap, const char *bytes, size_t length) {
    llorch_put(&tap->fields, "  \"generated_text\": ");
    llorch_put_json(&tap->fields, bytes, length);
    llorch_put(&tap->fields, ",\n  \"generated_bytes\": \"");
    for (size_t i = 0; i < length; i++) llorch_put(&tap->fields, "%02x", (unsigned char)bytes[i]);
    llorch_put(&tap->fields, "\",\n");
}

static inline int llorch_tap_tensor(llorch_tap *tap, const char *name, llorch_dtype dtype, const void *values,
                                    const uint64_t *shape, int rank) {
    for (size_t i = 0; i < tap->count; i++) {
        if (strcmp(tap->tensors[i].name, name) == 0) return tap->failed = llorch_fail("%s is there twice", name);
    }
    if (tap->count == tap->room) {
        size_t room = tap->room * 2 + 16;
        llorch_tensor *tensors = (llorch_tensor *)realloc(tap->tensors, room * sizeof *tensors);
        if (tensors == NULL) return tap->failed = llorch_fail("%s: no memory", name);
        tap->tensors = tensors, tap->room = room;
    }
    if (llorch_fill(&tap->tensors[tap->count], name, dtype, values, shape, rank) != 0) return tap->failed = -1;
    tap->count++;
    return 0;
}

static inline int llorch_tap_f32(llorch_tap *tap, const char *name, const float *values, const uint64_t *shape, int rank) {
    return llorch_tap_tensor(tap, name, LLORCH_F32, values, shape, rank);
}

static inline int llorch_tap_f64(llorch_tap *tap, const char *name, const double *values, const uint64_t *shape, int rank) {
    return llorch_tap_tensor(tap, name, LLORCH_F64, values, shape, rank);
}

static inline int llorch_tap_i64(llorch_tap *tap, const char *name, const int64_t *values, const uint64_t *shape, int rank) {
    return llorch_tap_tensor(tap, name, LLORCH_I64, values, shape, rank);
}

static inline int llorch_write_file(const char *path, const llorch_string *text, const llorch_tap *tensors) {
    FILE *file = fopen(path, "wb");
    if (file == NULL) return llorch_fail("%s: %s", path, strerror(errno));
    int failed = text->failed || fwrite(text->text, 1, text->length, file) != text->length;
    for (size_t i = 0; tensors != NULL && i < tensors->count; i++) {
        size_t bytes = (size_t)tensors->tensors[i].count * llorch_width(tensors->tensors[i].dtype);
        failed |= fwrite(tensors->tensors[i].values, 1, bytes, file) != bytes;
    }
    failed |= fclose(file) != 0;
    return failed ? llorch_fail("%s cannot be written", path) : 0;
}

/* Eight bytes of length and the header's JSON; the tensors' bytes come behind, in their order. */
static inline void llorch_safetensors_header(const llorch_tap *tap, llorch_string *out) {
    llorch_string json = {0};
    uint64_t end = 0;
    llorch_put(&json, "{");
    for (size_t i = 0; i < tap->count; i++) {
        const llorch_tensor *tensor = &tap->tensors[i];
        uint64_t begin = end;
        end += tensor->count * llorch_width(tensor->dtype);
        if (i) llorch_put(&json, ", ");
        llorch_put_json(&json, tensor->name, strlen(tensor->name));
        llorch_put(&json, ": {\"dtype\": \"%s\", \"shape\": ", llorch_dtype_name(tensor->dtype));
        llorch_put_shape(&json, tensor);
        llorch_put(&json, ", \"data_offsets\": [%llu, %llu]}", (unsigned long long)begin, (unsigned long long)end);
    }
    llorch_put(&json, "}");
    while (json.length % 8 != 0 && !json.failed) llorch_put(&json, " ");
    char length[8];
    for (int i = 0; i < 8; i++) length[i] = (char)((uint64_t)json.length >> (8 * i) & 0xff);
    llorch_put_bytes(out, length, 8);
    llorch_put_bytes(out, json.text ? json.text : "", json.length);
    out->failed |= json.failed;
    free(json.text);
}

/* What the name says of its place: .L07 and .step1, and the layer of cp08.block.07. */
static inline void llorch_place(const char *name, unsigned *layer, unsigned *step) {
    *layer = *step = 0;
    for (const char *dot = strchr(name, '.'); dot != NULL; dot = strchr(dot + 1, '.')) {
        unsigned number;
        if (sscanf(dot, ".L%u", &number) == 1) *layer = number;
        else if (sscanf(dot, ".step%u", &number) == 1) *step = number;
        else if (sscanf(dot, ".block.%u", &number) == 1) *layer = number;
    }
}

static inline void llorch_manifest(const llorch_tap *tap, llorch_string *out) {
    llorch_put(out, "{\n  \"schema_version\": 1,\n");
    llorch_put_bytes(out, tap->fields.text ? tap->fields.text : "", tap->fields.length);
    llorch_put(out, "  \"tensors\": [");
    for (size_t i = 0; i < tap->count; i++) {
        const llorch_tensor *tensor = &tap->tensors[i];
        unsigned layer, step;
        char hex[65];
        llorch_place(tensor->name, &layer, &step);
        llorch_tensor_sha256(tensor, hex);
        llorch_put(out, i ? ",\n    {\"name\": " : "\n    {\"name\": ");
        llorch_put_json(out, tensor->name, strlen(tensor->name));
        llorch_put(out, ", \"station\": ");
        llorch_put_json(out, tensor->name, strcspn(tensor->name, "."));
        llorch_put(out, ", \"layer\": %u, \"step\": %u, \"shape\": ", layer, step);
        llorch_put_shape(out, tensor);
        llorch_put(out, ", \"dtype\": \"%s\", \"sha256\": \"%s\", ", llorch_dtype_name(tensor->dtype), hex);
        llorch_put_statistics(out, tensor);
        llorch_put(out, ", \"head\": ");
        llorch_put_values(out, tensor, 0, tensor->count < 4 ? tensor->count : 4);
        llorch_put(out, ", \"tail\": ");
        llorch_put_values(out, tensor, tensor->count < 4 ? 0 : tensor->count - 4, tensor->count);
        llorch_put(out, "}");
    }
    llorch_put(out, "\n  ]\n}\n");
    out->failed |= tap->fields.failed;
}

/* Writes the capture and frees the tap. After an error nothing is left on disk. */
static inline int llorch_tap_close(llorch_tap *tap) {
    int result = tap->failed;
    char partial[LLORCH_MAX_PATH + 64], path[LLORCH_MAX_PATH + 128];
    llorch_string header = {0}, manifest = {0};
    const char *name = strrchr(tap->directory, '/');
    size_t above = name == NULL ? 0 : (size_t)(name + 1 - tap->directory);
    snprintf(partial, sizeof partial, "%.*s.%s~%ld", (int)above, tap->directory, tap->directory + above, (long)getpid());
    if (result == 0 && access(tap->directory, F_OK) == 0) {
        result = llorch_fail("%s is there already, and a capture is never written over another one", tap->directory);
    }
    if (result == 0 && mkdir(partial, 0777) != 0) {
        result = llorch_fail("%s: %s", partial, strerror(errno));
    } else if (result == 0) {
        llorch_safetensors_header(tap, &header);
        llorch_manifest(tap, &manifest);
        snprintf(path, sizeof path, "%s/tensors.safetensors", partial);
        result = llorch_write_file(path, &header, tap);
        snprintf(path, sizeof path, "%s/manifest.json", partial);
        if (result == 0) result = llorch_write_file(path, &manifest, NULL);
        if (result == 0 && rename(partial, tap->directory) != 0) {
            result = llorch_fail("%s: %s", tap->directory, strerror(errno));
        }
        if (result != 0) {
            remove(path);
            snprintf(path, sizeof path, "%s/tensors.safetensors", partial);
            remove(path);
            rmdir(partial);
        }
    }
    for (size_t i = 0; i < tap->count; i++) llorch_free_tensor(&tap->tensors[i]);
    free(header.text), free(manifest.text), free(tap->fields.text), free(tap->tensors), free(tap);
    return result;
}

/* ---- the parity log ---- */

typedef struct {
    FILE *file;
    uint64_t values;
    char team[128];
    int failed;
} llorch_log;

/* RFC 3339, UTC. text: room for 40 characters */
static inline void llorch_now(char *text) {
    struct timeval now;
    struct tm utc;
    char seconds[24];
    gettimeofday(&now, NULL);
    gmtime_r(&now.tv_sec, &utc);
    strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text, 40, "%s.%06ldZ", seconds, (long)now.tv_usec);
}

static inline void llorch_log_line(llorch_log *log, llorch_string *line) {
    /* one write for a whole line: several processes may append to one file */
    if (line->failed || fwrite(line->text, 1, line->length, log->file) != line->length || fflush(log->file) != 0) {
        log->failed = llorch_fail("the parity log cannot be written");
    }
    free(line->text);
}

/* NULL where ORCH_LOG_FILE is not set, or cannot be written. */
static inline llorch_log *llorch_log_open(const char *engine, const char *engine_version, const char *model) {
    const char *path = getenv("ORCH_LOG_FILE"), *team = getenv("ORCH_LOG_TEAM"), *values = getenv("ORCH_LOG_VALUES");
    if (path == NULL || *path == 0) return NULL;
    llorch_log *log = (llorch_log *)calloc(1, sizeof *log);
    if (log == NULL || (log->file = fopen(path, "ab")) == NULL) {
        llorch_fail("ORCH_LOG_FILE %s: %s", path, strerror(errno));
        free(log);
        return NULL;
    }
    setvbuf(log->file, NULL, _IOFBF, 1 << 16);
    log->values = values != NULL && *values ? strtoull(values, NULL, 10) : 10;
    snprintf(log->team, sizeof log->team, "%s", team != NULL && *team ? team : engine);
    llorch_string line = {0};
    char now[40];
    llorch_now(now);
    llorch_put(&line, "{\"record\": \"meta\", \"schema_version\": 1, \"ts\": \"%s\", \"team\": ", now);
    llorch_put_json(&line, log->team, strlen(log->team));
    llorch_put(&line, ", \"engine\": ");
    llorch_put_json(&line, engine, strlen(engine));
    llorch_put(&line, ", \"engine_version\": ");
    llorch_put_json(&line, engine_version, strlen(engine_version));
    llorch_put(&line, ", \"model\": ");
    llorch_put_json(&line, model, strlen(model));
    llorch_put(&line, "}\n");
    llorch_log_line(log, &line);
    return log;
}

/* checkpoint: the name without layer and step (cp01.ln_1, cp03.k, cp08.block). token_idx: the position of the pass's first
 * token, 0 for the prompt. */
static inline int llorch_log_f32(llorch_log *log, const char *checkpoint, unsigned layer, uint64_t token_idx,
                                 const float *values, const uint64_t *shape, int rank, const char *source) {
    if (log == NULL) return 0;
    llorch_tensor tensor;
    if (llorch_fill(&tensor, checkpoint, LLORCH_F32, values, shape, rank) != 0) return -1;
    llorch_string line = {0};
    char now[40], hex[65];
    llorch_now(now);
    llorch_tensor_sha256(&tensor, hex);
    llorch_put(&line, "{\"ts\": \"%s\", \"team\": ", now);
    llorch_put_json(&line, log->team, strlen(log->team));
    llorch_put(&line, ", \"checkpoint\": ");
    llorch_put_json(&line, checkpoint, strlen(checkpoint));
    llorch_put(&line, ", \"token_idx\": %llu, \"layer\": %u, \"dtype\": \"F32\", \"shape\": ",
               (unsigned long long)token_idx, layer);
    llorch_put_shape(&line, &tensor);
    llorch_put(&line, ", \"values\": ");
    llorch_put_values(&line, &tensor, 0, tensor.count < log->values ? tensor.count : log->values);
    llorch_put(&line, ", \"digest\": \"%s\", ", hex);
    llorch_put_statistics(&line, &tensor);
    llorch_put(&line, ", \"source\": ");
    llorch_put_json(&line, source, strlen(source));
    llorch_put(&line, "}\n");
    llorch_free_tensor(&tensor);
    llorch_log_line(log, &line);
    return log->failed;
}

static inline int llorch_log_close(llorch_log *log) {
    if (log == NULL) return 0;
    int result = log->failed | (fclose(log->file) != 0 ? -1 : 0);
    free(log);
    return result;
}

#endif
