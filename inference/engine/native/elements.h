/* What the functions of this folder compute with.
 *
 * Included once for each element type (ELEMENT_BF16 or ELEMENT_F32): tensors hold elements, all sums and the residual
 * stream are float32. Vectors are the compiler's own (GCC 12), so that one source serves every processor. Sizes
 * are in elements, and every row's length is a multiple of 2 * LANES; rows lie end to end.
 */
#include <stdint.h>
#include <string.h>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#ifdef __AVX512F__
#define LANES 16
#define LOWER_IN_TURN 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define UPPER_IN_TURN 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#else
#define LANES 8
#define LOWER_IN_TURN 0, 8, 1, 9, 2, 10, 3, 11
#define UPPER_IN_TURN 4, 12, 5, 13, 6, 14, 7, 15
#endif

typedef float vector __attribute__((vector_size(4 * LANES)));
typedef int32_t integers __attribute__((vector_size(4 * LANES)));
typedef uint32_t bits __attribute__((vector_size(4 * LANES)));
typedef struct {
    vector one, other;
} pair;

#ifdef ELEMENT_BF16
typedef uint16_t element;
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));

static inline vector load(const element *from) {
    halves raw;
    memcpy(&raw, from, sizeof raw);
    return (vector)(__builtin_convertvector(raw, bits) << 16);
}

/* Rounded to nearest, ties to even, in the upper half. */
static inline bits rounded(vector value) {
    bits raw = (bits)value;
    return raw + 0x7fff + ((raw >> 16) & 1);
}

static inline void store(element *to, vector value) {
#ifdef __AVX512BF16__
    __m256bh narrow = _mm512_cvtneps_pbh((__m512)value);
    memcpy(to, &narrow, sizeof narrow);
#else
    halves narrow = __builtin_convertvector(rounded(value) >> 16, halves);
    memcpy(to, &narrow, sizeof narrow);
#endif
}

/* 32 elements as two vectors: those at even places and those at odd ones, which takes the fewest instructions. */
static inline pair load_pair(const element *from) {
    bits raw;
    memcpy(&raw, from, sizeof raw);
    return (pair){(vector)(raw << 16), (vector)(raw & 0xffff0000)};
}

static inline void store_pair(element *to, pair value) {
    bits raw = (rounded(value.one) >> 16) | (rounded(value.other) & 0xffff0000);
    memcpy(to, &raw, sizeof raw);
}
#else
typedef float element;

static inline vector load(const element *from) {
    vector value;
    memcpy(&value, from, sizeof value);
    return value;
}

static inline void store(element *to, vector value) { memcpy(to, &value, sizeof value); }

static inline pair load_pair(const element *from) { return (pair){load(from), load(from + LANES)}; }

static inline void store_pair(element *to, pair value) {
    store(to, value.one);
    store(to + LANES, value.other);
}
#endif

/* sums += x * weight, for 2 * LANES elements of each. */
static inline vector multiply_pairs(vector sums, const element *x, const element *weight) {
#if defined(ELEMENT_BF16) && defined(__AVX512BF16__)
    __m512bh one, other;
    memcpy(&one, x, sizeof one);
    memcpy(&other, weight, sizeof other);
    return (vector)_mm512_dpbf16_ps((__m512)sums, one, other);
#else
    pair one = load_pair(x), other = load_pair(weight);
    return sums + one.one * other.one + one.other * other.other;
#endif
}

/* Have memory that is read soon brought nearer: it is scattered in pieces too short for the processor to foresee. */
static inline void fetch(const element *from, int64_t count) {
    for (const char *at = (const char *)from, *end = (const char *)(from + count); at < end; at += 64)
        __builtin_prefetch(at, 0, 2);
}

static inline vector kept(const float *from) {
    vector value;
    memcpy(&value, from, sizeof value);
    return value;
}

static inline void keep(float *to, vector value) { memcpy(to, &value, sizeof value); }

static inline void fold(vector values[LANES], int half) {
#pragma GCC unroll 8
    for (int at = 0; at < half; at++) {
        vector one = values[at], other = values[at + half];
        values[at] = __builtin_shufflevector(one, other, LOWER_IN_TURN) +
                     __builtin_shufflevector(one, other, UPPER_IN_TURN);
    }
}

/* The sums of all lanes of each: lane i is that of values[i]. */
static inline vector totals(vector values[LANES]) {
#pragma GCC unroll 4
    for (int half = LANES / 2; half; half /= 2) fold(values, half);
    return values[0];
}

typedef float four __attribute__((vector_size(16)));
typedef int32_t four_integers __attribute__((vector_size(16)));

static inline float total(vector value) {
    four sums[LANES / 4];
    memcpy(sums, &value, sizeof value);
    for (int at = 1; at < LANES / 4; at++) sums[0] += sums[at];
    return (sums[0][0] + sums[0][1]) + (sums[0][2] + sums[0][3]);
}
