/* Linear layers in float32. Weights are kept in as few bits as hold them, and made wide a tile at a time, in the first
 * cache: at few tokens all that counts is how much memory is read.
 *
 * A weight [out, in] is packed as [out / SIDE, in / DEPTH] tiles of [DEPTH inputs, SIDE outputs].
 */
#ifdef __F16C__
#define ELEMENT_F32
#include "elements.h"
#include "lora.h"
#include "fetching.h"
#include "quantized.h"

#define PASS (2 * SIDE) /* outputs that are multiplied at a time */
#define PANEL 96        /* tokens that a tile is made wide for */
#define AHEAD 8         /* tiles between the one that is read and the one fetched */
#ifdef __AVX512F__
#define TOGETHER 8 /* tokens whose sums stay in registers */
#else
#define TOGETHER 3
#endif
#define FOURS 8 /* numbers of 4 bits in a word */
#define EIGHTS 4

/* The numbers scale * q + least of an output, both float16. A word holds q of neighbouring inputs, the first lowest. */
typedef struct {
    uint16_t scale[SIDE], least[SIDE];
    uint32_t q[DEPTH / FOURS][SIDE];
} four_bits;

/* The numbers scale * q. */
typedef struct {
    uint16_t scale[SIDE];
    uint32_t q[DEPTH / EIGHTS][SIDE];
} eight_bits;

/* float16. */
typedef struct {
    uint16_t numbers[DEPTH][SIDE];
} sixteen_bits;

int64_t prepare(void) { return 0; }

static int pack_four(const float *from, void *tile, int64_t output) {
    four_bits *to = tile;
    int8_t q[DEPTH];
    if (!find_four_bits(from, 0, q, to->scale + output, to->least + output)) return 0;
    for (int64_t at = 0; at < DEPTH; at++) to->q[at / FOURS][output] |= (uint32_t)q[at] << at % FOURS * 4;
    return 1;
}

static int pack_eight(const float *from, void *tile, int64_t output) {
    eight_bits *to = tile;
    int8_t q[DEPTH];
    if (!find_eight_bits(from, 0, q, to->scale + output)) return 0;
    for (int64_t at = 0; at < DEPTH; at++) to->q[at / EIGHTS][output] |= (uint32_t)(uint8_t)q[at] << at % EIGHTS * 8;
    return 1;
}

/* Pack weight [out, in]; 0 if there is a number that so few bits do not hold. */
int64_t pack_four_bits(const float *weight, char *packed, int64_t out, int64_t in) {
    return pack(weight, packed, sizeof(four_bits), out, in, pack_four);
}

int64_t pack_eight_bits(const float *weight, char *packed, int64_t out, int64_t in) {
    return pack(weight, packed, sizeof(eight_bits), out, in, pack_eight);
}

static inline integers words(const uint32_t *from) {
    integers value;
    memcpy(&value, from, sizeof value);
    return value;
}

static inline vector from_half(const uint16_t *from) {
#ifdef __AVX512F__
    return (vector)_mm512_cvtph_ps(_mm256_loadu_si256((const void *)from));
#else
    return (vector)_mm256_cvtph_ps(_mm_loadu_si128((const void *)from));
#endif
}

/* The lowest four bits of each. */
static inline vector digit(integers of) {
#ifdef __AVX512F__
    const vector digits = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return (vector)_mm512_permutexvar_ps((__m512i)of, (__m512)digits);
#else
    return __builtin_convertvector(of & 15, vector);
#endif
}

/* Make a tile wide: to [DEPTH, PASS], of which it fills half. */
typedef void widen(const void *tile, float *to);

static inline void widen_four(const void *tile, float *to) {
    const four_bits *from = tile;
    for (int side = 0; side < SIDE; side += LANES) {
        vector scale = from_half(from->scale + side), least = from_half(from->least + side);
#pragma GCC unroll 4
        for (int row = 0; row < DEPTH / FOURS; row++) {
            integers q = words(from->q[row] + side);
#pragma GCC unroll 8
            for (int at = 0; at < FOURS; at++)
                keep(to + (row * FOURS + at) * PASS + side, digit(q >> at * 4) * scale + least);
        }
    }
}

static inline void widen_eight(const void *tile, float *to) {
    const eight_bits *from = tile;
    for (int side = 0; side < SIDE; side += LANES) {
        vector scale = from_half(from->scale + side);
#pragma GCC unroll 8
        for (int row = 0; row < DEPTH / EIGHTS; row++) {
            integers q = words(from->q[row] + side);
#pragma GCC unroll 4
            for (int at = 0; at < EIGHTS; at++)
                keep(to + (row * EIGHTS + at) * PASS + side,
                     __builtin_convertvector(q << (24 - at * 8) >> 24, vector) * scale);
        }
    }
}

static inline void widen_sixteen(const void *tile, float *to) {
    const sixteen_bits *from = tile;
#pragma GCC unroll 32
    for (int at = 0; at < DEPTH; at++)
        for (int side = 0; side < SIDE; side += LANES)
            keep(to + at * PASS + side, from_half(from->numbers[at] + side));
}

/* sums [count, PASS] += x [count, DEPTH] weights [DEPTH, PASS], count known to the compiler. What is to be fetched is so
 * with one input after the other, for many lines at once would wait for each other. */
static inline __attribute__((always_inline)) void add_few(const float *x, int64_t in, const float *weights, float *sums,
                                                          int count, fetching *more) {
    const char *ahead = next_lines(more);
    int64_t pace = more->lines * LINE / DEPTH;
    vector of_token[TOGETHER][PASS / LANES];
#pragma GCC unroll 8
    for (int token = 0; token < count; token++)
#pragma GCC unroll 4
        for (int side = 0; side < PASS / LANES; side++)
            of_token[token][side] = kept(sums + token * PASS + side * LANES);
    for (int at = 0; at < DEPTH; at++) {
        __builtin_prefetch(ahead + at * pace, 0, 2);
#pragma GCC unroll 8
        for (int token = 0; token < count; token++)
#pragma GCC unroll 4
            for (int side = 0; side < PASS / LANES; side++)
                of_token[token][side] += x[token * in + at] * kept(weights + at * PASS + side * LANES);
    }
#pragma GCC unroll 8
    for (int token = 0; token < count; token++)
#pragma GCC unroll 4
        for (int side = 0; side < PASS / LANES; side++)
            keep(sums + token * PASS + side * LANES, of_token[token][side]);
}

#define LAST(count) \
    case count: \
        add_few(x, in, weights, sums, count, more); \
        break;

/* The same of any number of tokens. */
static void add_products(const float *x, int64_t in, const float *weights, float *sums, int64_t tokens, fetching *more) {
    for (; tokens >= TOGETHER; tokens -= TOGETHER, x += TOGETHER * in, sums += TOGETHER * PASS)
        add_few(x, in, weights, sums, TOGETHER, more);
    switch (tokens) {
        LAST(1)
        LAST(2)
#if TOGETHER == 8
        LAST(3)
        LAST(4)
        LAST(5)
        LAST(6)
        LAST(7)
#endif
    }
}

typedef struct {
    const float *x;
    const char *packed;
    const float *bias;
    float *y;
    int64_t tokens, in, out;
} product;

/* PASS outputs of all tokens. */
static inline __attribute__((always_inline)) void multiply_outputs(const product *of, int64_t output, fetching *more,
                                                                   widen *widened, int64_t size) {
    int64_t in = of->in, steps = in / DEPTH;
    const char *packed = of->packed + output / SIDE * steps * size, *next = packed + steps * size;
    float weights[DEPTH * PASS] __attribute__((aligned(64))), sums[PANEL * PASS] __attribute__((aligned(64)));
    for (int64_t first = 0; first < of->tokens; first += PANEL) {
        int64_t tokens = of->tokens - first < PANEL ? of->tokens - first : PANEL;
        for (int64_t token = 0; token < tokens; token++)
            if (of->bias)
                memcpy(sums + token * PASS, of->bias + output, PASS * sizeof *sums);
            else
                memset(sums + token * PASS, 0, PASS * sizeof *sums);
        for (int64_t step = 0; step < steps; step++) {
            if (first == 0) {
                fetch((const element *)(packed + (step + AHEAD) * size), size / sizeof(element));
                fetch((const element *)(next + (step + AHEAD) * size), size / sizeof(element));
            }
            widened(packed + step * size, weights);
            widened(next + step * size, weights + SIDE);
            add_products(of->x + first * in + step * DEPTH, in, weights, sums, tokens, more);
        }
        for (int64_t token = 0; token < tokens; token++)
            memcpy(of->y + (first + token) * of->out + output, sums + token * PASS, PASS * sizeof *sums);
    }
}

/* y [tokens, out] = x [tokens, in] W^T + bias [out] (or none), of a weight packed in 4, 8 or 16 bits; then what adapters
 * add (or none). in is a multiple of DEPTH, out of PASS; number: the bytes of an output in y, always 4. */
void multiply(const float *x, const char *packed, const float *bias, float *y, int64_t tokens, int64_t in, int64_t out,
              int64_t bits, int64_t number, const lora *adapters, int64_t layer) {
    product of = {x, packed, bias, y, tokens, in, out};
    int64_t fetches = out / PASS * (in / DEPTH) * ((tokens + TOGETHER - 1) / TOGETHER);
    (void)number;
#pragma omp parallel
    {
        fetching more = begin_fetching(adapters, layer, fetches / omp_get_num_threads());
#pragma omp for
        for (int64_t output = 0; output < out; output += PASS)
            if (bits == 4)
                multiply_outputs(&of, output, &more, widen_four, sizeof(four_bits));
            else if (bits == 8)
                multiply_outputs(&of, output, &more, widen_eight, sizeof(eight_bits));
            else
                multiply_outputs(&of, output, &more, widen_sixteen, sizeof(sixteen_bits));
        if (adapters) add_low_rank(x, y, layer, adapters);
    }
}
#endif
