#pragma once
/* What the processor and the operating system offer, and what fork() does to OpenMP.
   Compiled for the baseline: nothing here may need more than it. */
#include <pthread.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

static int cpu_has_x86_v3(void) { __builtin_cpu_init(); return __builtin_cpu_supports("x86-64-v3") != 0; }
static int cpu_has_x86_v4(void) { __builtin_cpu_init(); return __builtin_cpu_supports("x86-64-v4") != 0; }

static int cpu_has_avx512_bf16(void) {
  unsigned a, b, c, d;
  return cpu_has_x86_v4() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);
}

/* All that -march=sapphirerapids may emit and x86-64-v4 does not promise: AMX-TILE, AMX-BF16, AVX512-FP16, and
   AVX512-BF16; and the operating system must save the tiles. */
#ifdef CONVKIT_EMULATE_AMX
static int cpu_has_amx(void) { return cpu_has_x86_v4(); }
static int cpu_permit_amx(void) { return 1; }
#else
static int cpu_has_amx(void) {
  unsigned a, b, c, d, low, high;
  if (!cpu_has_avx512_bf16()) return 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  if (!(d >> 24 & 1) || !(d >> 22 & 1) || !(d >> 23 & 1)) return 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & 0x60000) == 0x60000; /* XTILECFG, XTILEDATA */
}

/* Linux gives tile registers only to a process that asks, once: threads that it starts later, and children that it
   forks, have what it has. */
static int cpu_permit_amx(void) {
#ifdef __linux__
  const long get_permission = 0x1022, request_permission = 0x1023, tile_data = 18;
  unsigned long mask = 0;
  if (syscall(SYS_arch_prctl, request_permission, tile_data)) return 0;
  if (syscall(SYS_arch_prctl, get_permission, &mask)) return 0;
  return (int)(mask >> tile_data & 1);
#else
  return 0;
#endif
}
#endif
#else
static int cpu_has_x86_v3(void) { return 0; }
static int cpu_has_x86_v4(void) { return 0; }
static int cpu_has_avx512_bf16(void) { return 0; }
static int cpu_has_amx(void) { return 0; }
static int cpu_permit_amx(void) { return 0; }
#endif

/* fork(): libgomp's workers do not exist in the child, and the next parallel region there would wait for them for
   ever. So the pool is ended before a fork, and both sides make a new one when next they need it (about 0.15 ms,
   once). Where it cannot be ended (a libgomp older than GCC 9, a fork from inside of a region) the child runs on one
   thread. The reference to omp_pause_resource_all is weak; the strong one to omp_in_parallel keeps libgomp among
   the libraries that this module needs, without which a weak reference resolves to nothing. */
#ifdef _OPENMP
#include <omp.h>
#pragma weak omp_pause_resource_all
static __thread int pool_ended;
static int single_threaded;
static void before_fork(void) {
  pool_ended = !omp_in_parallel() && omp_pause_resource_all && omp_pause_resource_all(omp_pause_soft) == 0;
}
static void in_child(void) { if (!pool_ended) single_threaded = 1; }
static int prepare_for_forks(void) { return pthread_atfork(before_fork, NULL, in_child); }
static int openmp_threads(void) { return omp_get_max_threads(); }
static int openmp(void) { return _OPENMP; }
#else
static int single_threaded = 1;
static int prepare_for_forks(void) { return 0; }
static int openmp_threads(void) { return 1; }
static int openmp(void) { return 0; }
#endif
