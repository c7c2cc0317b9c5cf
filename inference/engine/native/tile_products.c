/* Linear layers in bfloat16 on tile registers (Intel AMX). At few tokens all that counts is to read the weights fast, so
 * they are kept in as few bits as hold them, and made wide a tile at a time beside the product.
 *
 * A weight [out, in] is packed as [out / SIDE, in / DEPTH] tiles of SIDE outputs by DEPTH inputs. Its numbers are taken
 * in the order in which the registers want them: [pairs of inputs, outputs, 2 of a pair].
 */
#ifdef __AMX_BF16__
#define ELEMENT_BF16
#include "elements.h"
#include "team.h"
#include "lora.h"
#include "fetching.h"
#include "tiles.h"
#include "quantized.h"

#define PASS (2 * SIDE) /* tokens and outputs that are multiplied at a time */
#define AHEAD 6         /* tiles between the one that is read and the one fetched */
#define REQUEST_PERMISSION 0x1023
#define TILE_DATA 18

/* The numbers scale * q + least of an output, both float16: those of llama.cpp's Q4_1. Byte i of a row of 32 numbers
 * holds q of number i, and above it that of number i + 16. */
typedef struct {
    uint16_t scale[SIDE], least[SIDE];
    uint8_t q[SIDE][DEPTH / 2];
} four_bits;

/* The numbers scale * q: those of Q8_0. */
typedef struct {
    uint16_t scale[SIDE];
    int8_t q[SIDE][DEPTH];
} eight_bits;

typedef struct {
    uint16_t numbers[SIDE][DEPTH];
} sixteen_bits;

/* Ask the kernel for the registers (Linux, Documentation/arch/x86/xstate.rst); 0 if it grants them. */
int64_t prepare(void) { return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA); }

static int pack_four(const float *from, void *tile, int64_t output) {
    four_bits *to = tile;
    int8_t q[DEPTH];
    if (!find_four_bits(from, 1, q, to->scale + output, to->least + output)) return 0;
    for (int64_t at = 0; at < DEPTH; at++) {
        int64_t place = 2 * output + at % 2;
        to->q[at / 2][place % 16] |= place < 16 ? q[at] : q[at] << 4;
    }
    return 1;
}

static int pack_eight(const float *from, void *tile, int64_t output) {
    eight_bits *to = tile;
    int8_t q[DEPTH];
    if (!find_eight_bits(from, 1, q, to->scale + output)) return 0;
    for (int64_t at = 0; at < DEPTH; at++) to->q[at / 2][2 * output + at % 2] = q[at];
    return 1;
}

/* Pack weight [out, in]; 0 if there is a number that so few bits do not hold. */
int64_t pack_four_bits(const float *weight, char *packed, int64_t out, int64_t in) {
    return pack(weight, packed, sizeof(four_bits), out, in, pack_four);
}

int64_t pack_eight_bits(const float *weight, char *packed, int64_t out, int64_t in) {
    return pack(weight, packed, sizeof(eight_bits), out, in, pack_eight);
}

/* float16 of 16 outputs, each twice, as a row of pairs has them: of outputs 0 to 7, and of 8 to 15. */
static inline void spread(const uint16_t *of, __m512 *left, __m512 *right) {
    const __m512i twice = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    __m512 values = _mm512_cvtph_ps(_mm256_loadu_si256((const void *)of));
    *left = _mm512_permutexvar_ps(twice, values);
    *right = _mm512_permutexvar_ps(_mm512_add_epi32(twice, _mm512_set1_epi32(8)), values);
}

/* Make a tile wide, in `to` unless it is so already. */
typedef const uint16_t *widen(const void *tile, uint16_t *to);

static inline const uint16_t *widen_four(const void *tile, uint16_t *to) {
    const four_bits *from = tile;
    const __m512 digits = _mm512_set_ps(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    __m512 scale, other_scale, least, other_least;
    spread(from->scale, &scale, &other_scale);
    spread(from->least, &least, &other_least);
#pragma GCC unroll 16
    for (int row = 0; row < SIDE; row++) {
        __m512i q = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)from->q[row]));
        __m512 one = _mm512_permutexvar_ps(q, digits), other = _mm512_permutexvar_ps(_mm512_srli_epi32(q, 4), digits);
        __m512bh pairs = _mm512_cvtne2ps_pbh(_mm512_fmadd_ps(other, other_scale, other_least),
                                             _mm512_fmadd_ps(one, scale, least));
        memcpy(to + row * DEPTH, &pairs, sizeof pairs);
    }
    return to;
}

static inline const uint16_t *widen_eight(const void *tile, uint16_t *to) {
    const eight_bits *from = tile;
    __m512 scale, other_scale;
    spread(from->scale, &scale, &other_scale);
#pragma GCC unroll 16
    for (int row = 0; row < SIDE; row++) {
        __m512i one = _mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)from->q[row]));
        __m512i other = _mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)(from->q[row] + SIDE)));
        __m512bh pairs = _mm512_cvtne2ps_pbh(_mm512_mul_ps(_mm512_cvtepi32_ps(other), other_scale),
                                             _mm512_mul_ps(_mm512_cvtepi32_ps(one), scale));
        memcpy(to + row * DEPTH, &pairs, sizeof pairs);
    }
    return to;
}

static inline const uint16_t *widen_sixteen(const void *tile, uint16_t *to) {
    (void)to;
    return tile;
}

/* number: the bytes of an output, a bfloat16 or a float32. */
static inline void put(const float *sums, const uint16_t *bias, char *y, int64_t tokens, int64_t out, int64_t number) {
    vector added = bias ? load(bias) : (vector){};
    for (int64_t token = 0; token < tokens; token++) {
        vector sum = kept(sums + token * SIDE) + added;
        char *to = y + token * out * number;
        if (number == sizeof(float))
            keep((float *)to, sum);
        else
            store((element *)to, sum);
    }
}

typedef struct {
    const uint16_t *x;
    const char *packed;
    const uint16_t *bias;
    char *y;
    int64_t tokens, in, out, number;
} product;

/* PASS outputs of all tokens. numbers: room for 2 tiles of each step where there are several passes, else for 2. */
static inline __attribute__((always_inline)) void multiply_outputs(const product *of, int64_t output, uint16_t *numbers,
                                                                   fetching *more, widen *widened, int64_t size) {
    int64_t in = of->in, out = of->out, number = of->number, steps = in / DEPTH, room = of->tokens > PASS ? steps : 1;
    const char *packed = of->packed + output / SIDE * steps * size, *next = packed + steps * size;
    const uint16_t *bias = of->bias ? of->bias + output : 0, *next_bias = bias ? bias + SIDE : 0;
    float sums[SIDE * SIDE] __attribute__((aligned(64)));
    for (int64_t token = 0; token < of->tokens; token += PASS) {
        int64_t left = of->tokens - token, upper = left < SIDE ? left : SIDE;
        int64_t lower = left - upper < SIDE ? left - upper : SIDE;
        if (token == 0 || left < PASS) configure(upper, lower);
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int64_t step = 0; step < steps; step++) {
            const uint16_t *x = of->x + token * in + step * DEPTH;
            uint16_t *one = numbers + step % room * 2 * SIDE * DEPTH, *other = one + SIDE * DEPTH;
            const uint16_t *weight = one, *next_weight = other;
            if (token == 0) {
                fetch_more(more);
                fetch((const element *)(packed + (step + AHEAD) * size), size / sizeof(element));
                fetch((const element *)(next + (step + AHEAD) * size), size / sizeof(element));
            }
            if (token == 0 || size == sizeof(sixteen_bits)) {
                weight = widened(packed + step * size, one);
                next_weight = widened(next + step * size, other);
            }
            _tile_loadd(4, x, in * sizeof *x);
            _tile_loadd(6, weight, 64);
            _tile_loadd(7, next_weight, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            if (lower) {
                _tile_loadd(5, x + SIDE * in, in * sizeof *x);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            }
        }
        char *y = of->y + (token * out + output) * number, *next_y = y + SIDE * number;
        _tile_stored(0, sums, 64);
        put(sums, bias, y, upper, out, number);
        _tile_stored(1, sums, 64);
        put(sums, next_bias, next_y, upper, out, number);
        if (lower) {
            _tile_stored(2, sums, 64);
            put(sums, bias, y + SIDE * out * number, lower, out, number);
            _tile_stored(3, sums, 64);
            put(sums, next_bias, next_y + SIDE * out * number, lower, out, number);
        }
    }
}

/* y [tokens, out] = x [tokens, in] W^T + bias [out] (or none), of a weight packed in 4, 8 or 16 bits; then what adapters
 * add (or none), to y in bfloat16 only. in is a multiple of DEPTH, out of PASS; number: the bytes of an output in y. A
 * thread's part, done by all once they meet. */
void multiply_part(const uint16_t *x, const char *packed, const uint16_t *bias, char *y, int64_t tokens, int64_t in,
                   int64_t out, int64_t bits, int64_t number, const lora *adapters, int64_t layer, team *together) {
    product of = {x, packed, bias, y, tokens, in, out, number};
    uint16_t numbers[(tokens > PASS ? in / DEPTH : 1) * 2 * SIDE * DEPTH] __attribute__((aligned(64)));
    fetching more = begin_fetching(adapters, layer, out / PASS * (in / DEPTH) / omp_get_num_threads());
#pragma omp for nowait
    for (int64_t output = 0; output < out; output += PASS)
        if (bits == 4)
            multiply_outputs(&of, output, numbers, &more, widen_four, sizeof(four_bits));
        else if (bits == 8)
            multiply_outputs(&of, output, numbers, &more, widen_eight, sizeof(eight_bits));
        else
            multiply_outputs(&of, output, numbers, &more, widen_sixteen, sizeof(sixteen_bits));
    _tile_release();
    if (adapters) add_lora_part(x, (element *)y, layer, adapters, together);
}

#include "multiply.h"
#endif
