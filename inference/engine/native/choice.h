/* The likeliest of a row's logits, and tokens drawn from them by inverting their cumulative distribution. */
#include <stdlib.h>

#define PART 512        /* logits whose probabilities are summed in float32 */
#define FIRST_LOOK 4.0f /* nats below the likeliest */
#define FARTHEST 100.0f /* what lies further below has a probability of nothing in float32 */

/* share: in (0, 1], of the probability up to the token that is drawn, it included. top_k: more than the vocabulary where
 * there is no limit. */
typedef struct {
    const float *logits;
    double scale, top_p, share;
    int64_t top_k, token;
} drawing;

typedef struct {
    float logit, weight;
    int32_t token;
} candidate;

/* The next logits, of which `left` are left; what is missing of a vector is impossible. */
static inline vector up_to(const float *from, int64_t left) {
    if (left >= LANES) return kept(from);
    vector value = filled(-INFINITY);
    memcpy(&value, from, left * sizeof(float));
    return value;
}

/* NaN where any is. */
static float highest_logit(const float *logits, int64_t n) {
    vector highest = filled(-INFINITY);
    integers is_nan = {};
    for (int64_t at = 0; at < n; at += LANES) {
        vector value = up_to(logits + at, n - at);
        highest = choose(value > highest, value, highest);
        is_nan |= value != value;
    }
    return total(choose(is_nan, filled(1), filled(0))) ? NAN : highest_of(highest);
}

/* What the logits within `reach` of the highest weigh, e^0 for the highest, and how many they are. */
static double weigh(const float *logits, int64_t n, float highest, float scale, float reach, int64_t *count) {
    double sum = 0;
    *count = 0;
    for (int64_t first = 0; first < n; first += PART) {
        vector part = {};
        integers found = {};
        for (int64_t at = first; at < n && at < first + PART; at += LANES) {
            vector below = (up_to(logits + at, n - at) - highest) * scale;
            integers near = below >= -reach;
            found -= near;
            part += choose(near, exponential(below), filled(0));
        }
        sum += total(part);
        for (int lane = 0; lane < LANES; lane++) *count += found[lane];
    }
    return sum;
}

static inline int is_before(candidate one, candidate other) {
    return one.logit > other.logit || (one.logit == other.logit && one.token < other.token);
}

static inline void swap(candidate *one, candidate *other) {
    candidate kept = *one;
    *one = *other;
    *other = kept;
}

/* Bring the likeliest candidates forward, as many as reach `target` together, the least likely of them last, and say how
 * many. Each counts as its weight, or as one. Quickselect (Hoare, Algorithm 65), by sums. */
static int64_t reach_target(candidate *found, int64_t count, double target, int as_one) {
    int64_t low = 0, high = count;
    double before = 0;
    while (high - low > 1) {
        candidate *first = found + low, *middle = found + (low + high) / 2, *last = found + high - 1;
        if (is_before(*middle, *first)) swap(middle, first);
        if (is_before(*last, *first)) swap(last, first);
        if (is_before(*middle, *last)) swap(middle, last);
        candidate pivot = *last;
        double sum = 0, own = as_one ? 1 : pivot.weight;
        int64_t place = low;
        for (int64_t at = low; at < high - 1; at++)
            if (is_before(found[at], pivot)) {
                sum += as_one ? 1 : found[at].weight;
                swap(found + place++, found + at);
            }
        swap(found + place, last);
        if (before + sum >= target) {
            high = place;
        } else if (before + sum + own >= target) {
            return place + 1;
        } else {
            before += sum + own;
            low = place + 1;
        }
    }
    return high;
}

static double weight_of(const candidate *found, int64_t count) {
    double sum = 0;
    for (int64_t at = 0; at < count; at++) sum += found[at].weight;
    return sum;
}

/* Of all tokens, in their order. */
static int64_t draw_of_all(const drawing *of, int64_t n, float highest) {
    int64_t count;
    float scale = of->scale;
    double sum = 0, end = of->share * weigh(of->logits, n, highest, scale, INFINITY, &count);
    for (int64_t first = 0; first < n; first += PART) {
        int64_t stop = n - first < PART ? n : first + PART, last = first;
        double part = weigh(of->logits + first, stop - first, highest, scale, INFINITY, &count);
        if (sum + part < end) {
            sum += part;
            continue;
        }
        for (int64_t token = first; token < stop && sum < end; token++) {
            float weight = exponential(filled((of->logits[token] - highest) * scale))[0];
            sum += weight;
            if (weight > 0) last = token;
        }
        return last;
    }
    return 0; /* there is a logit that is no number */
}

static void collect(const float *logits, int64_t n, float highest, float scale, float reach, candidate *found) {
    for (int64_t first = 0; first < n; first += LANES) {
        vector below = (up_to(logits + first, n - first) - highest) * scale;
        if (!(highest_of(below) >= -reach)) continue;
        vector weights = exponential(below);
        for (int lane = 0; lane < LANES; lane++)
            if (below[lane] >= -reach)
                *found++ = (candidate){logits[first + lane], weights[lane], (int32_t)(first + lane)};
    }
}

/* Of the top_k likeliest, and of these the likeliest that together reach top_p (arXiv 1904.09751), best first. */
static int64_t draw_of_few(const drawing *of, int64_t n, float highest) {
    float scale = of->scale, reach = FIRST_LOOK;
    int64_t count, top_k = of->top_k;
    double all = top_k < n ? 0 : weigh(of->logits, n, highest, scale, INFINITY, &count);
    for (;; reach *= 2) {
        double near = weigh(of->logits, n, highest, scale, reach, &count);
        if (reach > FARTHEST || (top_k < n ? count >= top_k : near >= of->top_p * all)) break;
    }
    candidate *found = malloc(count * sizeof *found + 1);
    if (!found || !count) return free(found), 0;
    collect(of->logits, n, highest, scale, reach, found);
    if (top_k < n) {
        count = reach_target(found, count, top_k, 1);
        all = weight_of(found, count);
    }
    count = reach_target(found, count, of->top_p * all, 0);
    count = reach_target(found, count, of->share * weight_of(found, count), 0);
    int64_t token = found[count - 1].token;
    free(found);
    return token;
}

/* The likeliest token of each row of logits [rows, n], the first of several, and its logit; NaN where a logit is. */
void find_likeliest(const float *logits, int64_t *tokens, float *highest, int64_t rows, int64_t n) {
#pragma omp parallel for if (rows > 1)
    for (int64_t row = 0; row < rows; row++) {
        const float *of_row = logits + row * n;
        highest[row] = highest_logit(of_row, n);
        tokens[row] = 0;
        if (isnan(highest[row])) continue;
        while (of_row[tokens[row]] != highest[row]) tokens[row]++;
    }
}

/* Draw the token of each row. */
void draw(drawing *rows, int64_t count, int64_t vocabulary) {
#pragma omp parallel for schedule(dynamic) if (count > 1)
    for (int64_t row = 0; row < count; row++) {
        drawing *of = rows + row;
        float highest = highest_logit(of->logits, vocabulary);
        int is_narrow = of->top_k <= vocabulary || of->top_p < 1;
        of->token = (is_narrow ? draw_of_few : draw_of_all)(of, vocabulary, highest);
    }
}
