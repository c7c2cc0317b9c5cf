/* The threads of a parallel region that go through all of a step together, and how they wait for each other. */
#include <linux/futex.h>
#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of OpenMP; its header is not everywhere where a compiler is. */
int omp_get_thread_num(void);
int omp_get_num_threads(void);

#define SPINS 10000 /* looks at whether all are there before a thread sleeps: half a millisecond */
#define SEATS 64    /* threads whose processors are known */

/* How many have come to the next meeting, how many meetings have been, how many sleep, and the processor from which each
 * thread came to its last one, counted from 1. */
typedef struct {
    int32_t arrived, meetings, asleep, processors[SEATS];
} team;

static inline void rest(void) {
#ifdef __x86_64__
    __builtin_ia32_pause();
#endif
}

/* Whether another thread was on the same processor: where others take one, the system puts two of a team on the other. */
static inline int is_shared(const team *of, int32_t threads, int32_t thread, int32_t processor) {
    for (int32_t other = 0; other < threads && other < SEATS; other++)
        if (other != thread && of->processors[other] == processor) return 1;
    return 0;
}

/* Returns once all have called it. Who has to wait for one that the same processor has to run sleeps at once: it would
 * only keep it off, and one that is woken goes to a processor that is free, while two that never sleep stay together. */
static inline void meet(team *of) {
    int32_t threads = omp_get_num_threads(), before = __atomic_load_n(&of->meetings, __ATOMIC_RELAXED);
    int32_t thread = omp_get_thread_num(), processor = sched_getcpu() + 1;
    of->processors[thread % SEATS] = processor;
    if (__atomic_add_fetch(&of->arrived, 1, __ATOMIC_ACQ_REL) == threads) {
        of->arrived = 0;
        __atomic_store_n(&of->meetings, before + 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&of->asleep, __ATOMIC_SEQ_CST))
            syscall(SYS_futex, &of->meetings, FUTEX_WAKE_PRIVATE, threads);
        return;
    }
    int32_t spins = is_shared(of, threads, thread, processor) ? 0 : SPINS;
    for (int32_t spin = 0; spin < spins; spin++) {
        if (__atomic_load_n(&of->meetings, __ATOMIC_ACQUIRE) != before) return;
        rest();
    }
    __atomic_add_fetch(&of->asleep, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&of->meetings, __ATOMIC_SEQ_CST) == before)
        syscall(SYS_futex, &of->meetings, FUTEX_WAIT_PRIVATE, before, 0);
    __atomic_sub_fetch(&of->asleep, 1, __ATOMIC_RELAXED);
}
