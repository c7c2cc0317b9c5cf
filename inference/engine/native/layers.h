/* All layers of a step in one call: what the interpreter does between two functions takes longer than some of them, for
 * the weights have driven all that it needs out of the cache. */

enum { QKV, O, GATE_UP, DOWN, GROUPS };

typedef void product(const element *x, const char *packed, const element *bias, element *y, int64_t tokens, int64_t in,
                     int64_t out, int64_t bits, int64_t number, const lora *adapters, int64_t layer, team *together);

typedef struct {
    const char *packed;
    const element *bias;
    int64_t in, out, bits;
} weight;

/* The last three norms are there in some families only. */
typedef struct {
    weight weights[GROUPS];
    const element *input_norm, *feed_forward_norm, *qk_norm, *post_attention_norm, *post_feed_forward_norm;
    const element *cosines, *sines;
    int64_t window;
} layer;

typedef struct {
    product *multiply_part;
    const layer *layers;
    int64_t hidden, heads, kv_heads, head_dim, intermediate, is_gelu;
    double eps, scale;
} model;

/* Adapters of one stack: of each group, and which layers they are of. */
typedef struct {
    struct {
        const lora *adapters;
        int64_t first, stop;
    } groups[GROUPS];
} stack;

/* x [tokens, hidden] is the residual stream, and `change` what is to be added to it. room: for what the layers make. */
typedef struct {
    float *x;
    element *change, *room;
    const place *places;
    const int64_t *asking;
    const chunk *chunks;
    const stack *stacks;
    int64_t tokens, asked, chunk_count, stack_count;
} step;

/* Those of a layer, or none; place: where the layer is in them. */
static const lora *adapters_of(const stack *of, int group, int64_t index, int64_t *place) {
    *place = index - of->groups[group].first;
    return *place >= 0 && index < of->groups[group].stop ? of->groups[group].adapters : 0;
}

/* Returns once all threads have done their part. */
static void multiply_group(const model *by, const step *of, int64_t index, int group, const element *x, element *y,
                           team *together) {
    const weight *with = by->layers[index].weights + group;
    int64_t place = 0;
    const lora *adapters = of->stack_count ? adapters_of(of->stacks, group, index, &place) : 0;
    by->multiply_part(x, with->packed, with->bias, y, of->tokens, with->in, with->out, with->bits, sizeof(element),
                      adapters, place, together);
    for (int64_t at = 1; at < of->stack_count; at++)
        if ((adapters = adapters_of(of->stacks + at, group, index, &place)))
            add_lora_part(x, y, place, adapters, together);
    meet(together);
}

/* The first `count` layers; a thread's part. Parts that follow each other without a meeting are of the same rows. */
static void run_layers_part(const model *by, const step *of, int64_t count, team *together) {
    int64_t heads = by->heads, kv_heads = by->kv_heads, n = by->head_dim, tokens = of->tokens, hidden = by->hidden;
    element *change = of->change, *normed = of->room, *qkv = normed + tokens * hidden;
    element *answer = qkv + tokens * (heads + 2 * kv_heads) * n, *gate_up = answer + tokens * heads * n;
    element *gated = gate_up + 2 * tokens * by->intermediate;
    for (int64_t index = 0; index < count; index++) {
        const layer *at = by->layers + index;
        add_rms_norm_part(of->x, change, at->input_norm, normed, tokens, hidden, by->eps);
        meet(together);
        multiply_group(by, of, index, QKV, normed, qkv, together);
        if (at->qk_norm) norm_heads_part(qkv, at->qk_norm, tokens, heads + kv_heads, heads + 2 * kv_heads, n, by->eps);
        rotate_and_write_part(qkv, at->cosines, at->sines, of->places, tokens, index, heads, kv_heads, n);
        meet(together);
        attend_part(qkv, of->places, of->asking, answer, of->asked, index, heads, kv_heads, n, at->window, by->scale);
        if (of->chunk_count)
            attend_chunks_part(qkv, of->places, of->chunks, answer, of->chunk_count, index, heads, kv_heads, n,
                               at->window, by->scale);
        meet(together);
        multiply_group(by, of, index, O, answer, change, together);
        if (at->post_attention_norm) rms_norm_part(change, at->post_attention_norm, change, tokens, hidden, by->eps);
        add_rms_norm_part(of->x, change, at->feed_forward_norm, normed, tokens, hidden, by->eps);
        meet(together);
        multiply_group(by, of, index, GATE_UP, normed, gate_up, together);
        (by->is_gelu ? gelu_gate_part : silu_gate_part)(gate_up, gated, tokens, by->intermediate);
        meet(together);
        multiply_group(by, of, index, DOWN, gated, change, together);
        if (at->post_feed_forward_norm)
            rms_norm_part(change, at->post_feed_forward_norm, change, tokens, hidden, by->eps);
    }
}

void run_layers(const model *by, const step *of, int64_t count) {
    team together = {0};
#pragma omp parallel
    run_layers_part(by, of, count, &together);
}
