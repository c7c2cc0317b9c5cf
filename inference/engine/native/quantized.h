/* Weights whose numbers lie on a grid of few bits, as those do that llama.cpp quantised and someone made wide again. */
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define SIDE 16  /* outputs of a tile */
#define DEPTH 32 /* inputs of a tile; they share an output's scale */

static inline uint16_t half(float value) { return _cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT); }

/* The q of each of DEPTH numbers scale * q + least, or those rounded to float16 where `is_rounded`; 0 if there is a
 * number that has none from `lowest` to `highest`. */
static int steps_of(const float *from, float scale, float least, int lowest, int highest, int is_rounded, int8_t *q) {
    for (int64_t at = 0; at < DEPTH; at++) {
        float step = scale ? rintf((from[at] - least) / scale) : 0, number = step * scale + least;
        if (!(step >= lowest && step <= highest)) return 0;
        if ((is_rounded ? _cvtsh_ss(half(number)) : number) != from[at]) return 0;
        q[at] = (int8_t)step;
    }
    return 1;
}

/* The float16 next to `about`, the scale that the ends of the numbers give but for their own rounding, that has all. */
static int find_scale(const float *from, float about, float least, int lowest, int highest, int may_be_rounded,
                      int8_t *q, uint16_t *scale) {
    const int tried[] = {0, 1, -1};
    for (int is_rounded = 0; is_rounded <= may_be_rounded; is_rounded++)
        for (int at = 0; at < 3; at++) {
            *scale = half(about) + tried[at];
            if (steps_of(from, _cvtsh_ss(*scale), least, lowest, highest, is_rounded, q)) return 1;
        }
    return 0;
}

/* Find DEPTH numbers scale * q + least, q from 0 to 15 and both others float16: llama.cpp's Q4_1. */
static int find_four_bits(const float *from, int may_be_rounded, int8_t *q, uint16_t *scale, uint16_t *least) {
    float lowest = from[0], most = from[0];
    for (int64_t at = 1; at < DEPTH; at++) {
        lowest = from[at] < lowest ? from[at] : lowest;
        most = from[at] > most ? from[at] : most;
    }
    *least = half(lowest);
    return find_scale(from, (most - lowest) / 15, _cvtsh_ss(*least), 0, 15, may_be_rounded, q, scale);
}

/* Find DEPTH numbers scale * q, q from -127 to 127: Q8_0. */
static int find_eight_bits(const float *from, int may_be_rounded, int8_t *q, uint16_t *scale) {
    float most = 0;
    for (int64_t at = 0; at < DEPTH; at++) most = fabsf(from[at]) > most ? fabsf(from[at]) : most;
    return find_scale(from, most / 127, 0, -127, 127, may_be_rounded, q, scale);
}

/* Writes the DEPTH numbers of an output into a tile of zeros; 0 if they do not fit. */
typedef int pack_output(const float *from, void *tile, int64_t output);

/* weight [out, in] as tiles of `size` bytes [out / SIDE, in / DEPTH]; 0 if there are numbers that do not fit. */
static int pack(const float *weight, char *packed, int64_t size, int64_t out, int64_t in, pack_output *write) {
    int64_t steps = in / DEPTH;
    memset(packed, 0, out / SIDE * steps * size);
    for (int64_t row = 0; row < out; row++)
        for (int64_t step = 0; step < steps; step++)
            if (!write(weight + row * in + step * DEPTH, packed + (row / SIDE * steps + step) * size, row % SIDE)) return 0;
    return 1;
}
