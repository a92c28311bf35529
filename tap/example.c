/* A layer norm, its result captured and, where ORCH_LOG_FILE is set, logged.
 *
 *     cc -std=c99 -Wall -Wextra -D_DEFAULT_SOURCE example.c -o example -lm && ./example out */
#include "llorch_tap.h"

enum { T = 2, C = 6 };

/* out = (x - mean) / sqrt(variance + 1e-5), row by row: [T, C] */
static void layer_norm(const float *x, float *out) {
    for (int t = 0; t < T; t++) {
        double mean = 0, variance = 0;
        for (int c = 0; c < C; c++) mean += x[t * C + c] / C;
        for (int c = 0; c < C; c++) variance += (x[t * C + c] - mean) * (x[t * C + c] - mean) / C;
        for (int c = 0; c < C; c++) out[t * C + c] = (float)((x[t * C + c] - mean) / sqrt(variance + 1e-5));
    }
}

int main(int count, char **words) {
    if (count != 2) {
        fprintf(stderr, "usage: example DIRECTORY\n");
        return 2;
    }
    const float x[T * C] = {0.5f, -1.25f, 2, 0.125f, -0.75f, 3, 1, 2, 3, 4, 5, 6};
    float normed[T * C];
    layer_norm(x, normed);

    const uint64_t rows[] = {T, C}, one[] = {1}, odd[] = {5};
    const uint32_t ids[] = {15496, 13};
    const int64_t next[] = {314};
    const double extra[] = {1.0 / 3.0, NAN, INFINITY, -INFINITY, -0.0};
    llorch_tap *tap = llorch_tap_open(words[1]);
    if (tap == NULL) {
        fprintf(stderr, "%s\n", llorch_tap_error());
        return 1;
    }
    llorch_tap_text(tap, "engine", "example.c");
    llorch_tap_text(tap, "engine_version", "1");
    llorch_tap_text(tap, "model", "a \"model\"\n");
    llorch_tap_text(tap, "architecture", "gpt2");
    llorch_tap_text(tap, "compute_dtype", "F32");
    llorch_tap_sizes(tap, 1, 1, C, 8, 50257);
    llorch_tap_token_ids(tap, ids, 2);
    llorch_tap_prompt(tap, "Hello.");
    llorch_tap_count(tap, "steps", 0);
    llorch_tap_generated(tap, "caf\xc3\xa9\xc3", 6); /* ends inside a character */
    llorch_tap_f32(tap, "cp00.embed", x, rows, 2);
    llorch_tap_f32(tap, "cp01.ln_1", normed, rows, 2);
    llorch_tap_f64(tap, "extra.step3.L07", extra, odd, 1);
    llorch_tap_i64(tap, "cp10.argmax", next, one, 1);
    if (llorch_tap_close(tap) != 0) {
        fprintf(stderr, "%s\n", llorch_tap_error());
        return 1;
    }
    llorch_log *log = llorch_log_open("example.c", "1", "model");
    llorch_log_f32(log, "cp00.embed", 0, 0, x, rows, 2, "job-1");
    llorch_log_f32(log, "cp01.ln_1", 0, 0, normed, rows, 2, "job-1");
    return llorch_log_close(log) == 0 ? 0 : 1;
}
