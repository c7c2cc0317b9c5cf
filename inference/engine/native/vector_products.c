/* Linear layers in float32. Weights are kept in as few bits as hold them, and made wide a tile at a time, in the first
 * cache: at few tokens all that counts is how much memory is read.
 *
 * A weight [out, in] is packed as [out / SIDE, in / DEPTH] tiles of [DEPTH inputs, SIDE outputs].
 */
#ifdef __F16C__
#define ELEMENT_F32
#include "elements.h"
#include "team.h"
#include "lora.h"
#include "fetching.h"
#include "quantized.h"

#define INLINE static inline __attribute__((always_inline))
#define PASS (2 * SIDE) /* outputs that are multiplied at a time */
#define PANEL 96        /* tokens that a tile is made wide for */
#define STRETCH 3       /* tiles of an output's inputs that are made wide, and then multiplied, at a time */
#define AHEAD 8         /* tiles between the one that is read and the one fetched */
#ifdef __AVX512F__
#define TOGETHER 8 /* tokens that are multiplied at a time */
#define SUMS 16    /* vectors of sums that stay in registers */
#else
#define TOGETHER 6
#define SUMS 12
#endif
#define IN_FLIGHT 8 /* sums that are made at the same time: with no more than these, each waits for itself */
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

/* A tile's numbers scale * digit + least, for LANES outputs from `side` on; digits by input `at`. */
typedef struct {
    vector scale, least;
} grid;

typedef struct {
    vector (*digits)(const void *tile, int at, int side);
    grid (*grid)(const void *tile, int side);
    int64_t size; /* of a tile */
} format;

static inline vector digits_of_four(const void *tile, int at, int side) {
    const four_bits *from = tile;
    return digit(words(from->q[at / FOURS] + side) >> at % FOURS * 4);
}

static inline grid grid_of_four(const void *tile, int side) {
    const four_bits *from = tile;
    return (grid){from_half(from->scale + side), from_half(from->least + side)};
}

static inline vector digits_of_eight(const void *tile, int at, int side) {
    const eight_bits *from = tile;
    return __builtin_convertvector(words(from->q[at / EIGHTS] + side) << (24 - at % EIGHTS * 8) >> 24, vector);
}

static inline grid grid_of_eight(const void *tile, int side) {
    const eight_bits *from = tile;
    return (grid){from_half(from->scale + side), (vector){} - 0.0f};
}

static inline vector digits_of_sixteen(const void *tile, int at, int side) {
    const sixteen_bits *from = tile;
    return from_half(from->numbers[at] + side);
}

static inline grid grid_of_sixteen(const void *tile, int side) {
    (void)tile, (void)side;
    return (grid){(vector){} + 1.0f, (vector){} - 0.0f};
}

static const format FOUR_BITS = {digits_of_four, grid_of_four, sizeof(four_bits)};
static const format EIGHT_BITS = {digits_of_eight, grid_of_eight, sizeof(eight_bits)};
static const format SIXTEEN_BITS = {digits_of_sixteen, grid_of_sixteen, sizeof(sixteen_bits)};

/* Make a tile wide: to [DEPTH, PASS], of which it fills half. */
INLINE void widen(const void *tile, const format *as, float *restrict to) {
    for (int side = 0; side < SIDE; side += LANES) {
        grid of = as->grid(tile, side);
#pragma GCC unroll 32
        for (int at = 0; at < DEPTH; at++)
            keep(to + at * PASS + side, as->digits(tile, at, side) * of.scale + of.least);
    }
}

/* sums [PASS] += x [DEPTH] of two neighbouring tiles: for one token they are not made wide in memory. The order of the
 * sums is that of `add_sums`, so that what a token gets does not depend on how many there are. */
INLINE void add_one(const float *x, const void *const tiles[2], const format *as, float *sums, fetching *more) {
    const char *ahead = next_lines(more);
    int64_t pace = more->lines * LINE / DEPTH;
    vector of_side[PASS / LANES];
    grid grids[PASS / LANES];
#pragma GCC unroll 4
    for (int side = 0; side < PASS / LANES; side++) {
        of_side[side] = kept(sums + side * LANES);
        grids[side] = as->grid(tiles[side * LANES / SIDE], side * LANES % SIDE);
    }
#pragma GCC unroll 32
    for (int at = 0; at < DEPTH; at++, ahead += pace) {
        __builtin_prefetch(ahead, 0, 2);
#pragma GCC unroll 4
        for (int side = 0; side < PASS / LANES; side++) {
            vector digits = as->digits(tiles[side * LANES / SIDE], at, side * LANES % SIDE);
            of_side[side] += x[at] * (digits * grids[side].scale + grids[side].least);
        }
    }
#pragma GCC unroll 4
    for (int side = 0; side < PASS / LANES; side++) keep(sums + side * LANES, of_side[side]);
}

typedef void add_to_one(const float *x, const void *const tiles[2], float *sums, fetching *more);

/* Functions of their own, for the compiler runs out of registers in larger ones. */
#define ADD_ONE(name, format) \
    static __attribute__((noinline)) add_to_one name; \
    static void name(const float *x, const void *const tiles[2], float *sums, fetching *more) { \
        add_one(x, tiles, &format, sums, more); \
    }
ADD_ONE(add_one_of_four, FOUR_BITS)
ADD_ONE(add_one_of_eight, EIGHT_BITS)
ADD_ONE(add_one_of_sixteen, SIXTEEN_BITS)

/* sums [count, vectors * LANES] += x [count, depth] weights [depth, vectors * LANES], in rows of PASS. The compiler
 * knows count and vectors. What is to be fetched is so with one input after the other, for many lines at once would
 * wait for each other. */
INLINE void add_sums(const float *x, int64_t in, const float *weights, float *sums, int64_t depth, int count,
                     int vectors, const char *ahead, int64_t pace) {
    vector of_token[TOGETHER][PASS / LANES];
#pragma GCC unroll 8
    for (int token = 0; token < count; token++)
#pragma GCC unroll 4
        for (int side = 0; side < vectors; side++)
            of_token[token][side] = kept(sums + token * PASS + side * LANES);
    for (int64_t at = 0; at < depth; at++) {
        __builtin_prefetch(ahead + at * pace, 0, 2);
#pragma GCC unroll 8
        for (int token = 0; token < count; token++)
#pragma GCC unroll 4
            for (int side = 0; side < vectors; side++)
                of_token[token][side] += x[token * in + at] * kept(weights + at * PASS + side * LANES);
    }
#pragma GCC unroll 8
    for (int token = 0; token < count; token++)
#pragma GCC unroll 4
        for (int side = 0; side < vectors; side++)
            keep(sums + token * PASS + side * LANES, of_token[token][side]);
}

/* So many of a token's vectors that the sums of `count` tokens stay in registers. */
INLINE int vectors_at_once(int64_t count) { return count * PASS / LANES <= SUMS ? PASS / LANES : 2; }

/* sums [count, PASS] += x [count, depth] weights [depth, PASS], in as many parts as registers ask for. */
INLINE void add_few(const float *x, int64_t in, const float *weights, float *sums, int64_t depth, int count,
                    fetching *more) {
    const char *ahead = next_lines(more);
    int64_t pace = more->lines * LINE / depth;
    int vectors = vectors_at_once(count);
    for (int side = 0; side < PASS; side += vectors * LANES, pace = 0)
        add_sums(x, in, weights + side, sums + side, depth, count, vectors, ahead, pace);
}

#define FEW(count) \
    case count: \
        add_few(x, in, weights, sums, depth, count, more); \
        break;

/* How many of the tokens that are left are multiplied next: so many that no part has too few sums in the end. */
static inline int64_t next_few(int64_t tokens) {
    int64_t rest = tokens % TOGETHER;
    return tokens <= TOGETHER ? tokens : rest && rest * vectors_at_once(rest) <= IN_FLIGHT ? TOGETHER - 1 : TOGETHER;
}

/* The same of any number of tokens. */
static void add_products(const float *x, int64_t in, const float *weights, float *sums, int64_t depth, int64_t tokens,
                         fetching *more) {
    for (int64_t count; (count = next_few(tokens)); tokens -= count, x += count * in, sums += count * PASS)
        switch (count) {
            FEW(1)
            FEW(2)
            FEW(3)
            FEW(4)
            FEW(5)
            FEW(6)
#if TOGETHER == 8
            FEW(7)
            FEW(8)
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
INLINE void multiply_outputs(const product *of, int64_t output, fetching *more, const format *as,
                             add_to_one *single) {
    int64_t in = of->in, steps = in / DEPTH, size = as->size;
    const char *packed = of->packed + output / SIDE * steps * size, *next = packed + steps * size;
    float weights[STRETCH * DEPTH * PASS] __attribute__((aligned(64))), sums[PANEL * PASS] __attribute__((aligned(64)));
    for (int64_t first = 0; first < of->tokens; first += PANEL) {
        int64_t tokens = of->tokens - first < PANEL ? of->tokens - first : PANEL;
        for (int64_t token = 0; token < tokens; token++)
            if (of->bias)
                memcpy(sums + token * PASS, of->bias + output, PASS * sizeof *sums);
            else
                memset(sums + token * PASS, 0, PASS * sizeof *sums);
        const float *x = of->x + first * in;
        for (int64_t step = 0, wide = 0; step < steps; step++) {
            if (first == 0) {
                fetch((const element *)(packed + (step + AHEAD) * size), size / sizeof(element));
                fetch((const element *)(next + (step + AHEAD) * size), size / sizeof(element));
            }
            const void *tiles[2] = {packed + step * size, next + step * size};
            if (tokens == 1) {
                single(x + step * DEPTH, tiles, sums, more);
                continue;
            }
            widen(tiles[0], as, weights + wide * PASS);
            widen(tiles[1], as, weights + wide * PASS + SIDE);
            wide += DEPTH;
            if (wide == STRETCH * DEPTH || step + 1 == steps) {
                add_products(x + (step + 1) * DEPTH - wide, in, weights, sums, wide, tokens, more);
                wide = 0;
            }
        }
        for (int64_t token = 0; token < tokens; token++)
            memcpy(of->y + (first + token) * of->out + output, sums + token * PASS, PASS * sizeof *sums);
    }
}

/* y [tokens, out] = x [tokens, in] W^T + bias [out] (or none), of a weight packed in 4, 8 or 16 bits; then what adapters
 * add (or none). in is a multiple of DEPTH, out of PASS; number: the bytes of an output in y, always 4. A thread's part,
 * done by all once they meet. */
void multiply_part(const float *x, const char *packed, const float *bias, float *y, int64_t tokens, int64_t in,
                   int64_t out, int64_t bits, int64_t number, const lora *adapters, int64_t layer, team *together) {
    product of = {x, packed, bias, y, tokens, in, out};
    int64_t stretches = tokens == 1 ? in / DEPTH : (in / DEPTH + STRETCH - 1) / STRETCH;
    int64_t fetches = out / PASS * stretches * ((tokens + TOGETHER - 1) / TOGETHER);
    fetching more = begin_fetching(adapters, layer, fetches / omp_get_num_threads());
    (void)number;
#pragma omp for nowait
    for (int64_t output = 0; output < out; output += PASS)
        if (bits == 4)
            multiply_outputs(&of, output, &more, &FOUR_BITS, add_one_of_four);
        else if (bits == 8)
            multiply_outputs(&of, output, &more, &EIGHT_BITS, add_one_of_eight);
        else
            multiply_outputs(&of, output, &more, &SIXTEEN_BITS, add_one_of_sixteen);
    if (adapters) add_lora_part(x, y, layer, adapters, together);
}

#include "multiply.h"
#endif
