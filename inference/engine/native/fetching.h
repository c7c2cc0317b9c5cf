/* Bringing an adapter's factors nearer while a linear layer's own product is made. */

#define LINE 64 /* bytes */

/* A thread's way through the low-rank factors that it reads after the product: they are brought nearer meanwhile, since
 * to widen weights leaves the memory idle. a to a_stop and b to b_stop are its pieces that are left. */
typedef struct {
    const lora *of;
    int64_t layer, a, a_stop, b, b_stop, lines;
    const char *at, *end;
} fetching;

/* Spread over `steps` calls of `fetch_more` or `next_lines`. */
static fetching begin_fetching(const lora *of, int64_t layer, int64_t steps) {
    if (!of) return (fetching){0};
    int64_t thread = omp_get_thread_num(), threads = omp_get_num_threads();
    int64_t a = of->count * of->rows / ROWS, b = of->count * of->chunks;
    int64_t elements = a * ROWS * of->in + b * of->rank * of->width;
    return (fetching){
        .of = of,
        .layer = layer,
        .a = a * thread / threads,
        .a_stop = a * (thread + 1) / threads,
        .b = b * thread / threads,
        .b_stop = b * (thread + 1) / threads,
        .lines = elements / threads * (int64_t)sizeof(element) / LINE / (steps + 1) + 1,
    };
}

/* Whether there is more; then it is between `at` and `end`. */
static inline int is_left(fetching *to) {
    if (to->at < to->end) return 1;
    const lora *of = to->of;
    int a_left = to->a < to->a_stop;
    if (!a_left && to->b == to->b_stop) {
        to->lines = 0;
        return 0;
    }
    to->at = (const char *)(a_left ? piece_of_a(of, to->layer, to->a++) : piece_of_b(of, to->layer, to->b++));
    to->end = to->at + (a_left ? ROWS * of->in : of->rank * of->width) * sizeof(element);
    return 1;
}

static inline void fetch_more(fetching *to) {
    for (int64_t line = 0; line < to->lines && is_left(to); line++, to->at += LINE) __builtin_prefetch(to->at, 0, 2);
}

/* Where the next `lines` begin. Those beyond a piece's end are fetched in vain. */
static inline const char *next_lines(fetching *to) {
    const char *from = is_left(to) ? to->at : 0;
    to->at += to->lines * LINE;
    return from;
}
