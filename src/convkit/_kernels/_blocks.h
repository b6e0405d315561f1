#pragma once
/* Whole pages from the operating system, and a lock that a fork leaves open in the child. */
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>

/* What AddressSanitizer is told of memory that malloc does not hand out: whether it may be touched. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, bytes) ((void)(start), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(start, bytes) ((void)(start), (void)(bytes))
#endif

#define HUGE_PAGE ((size_t)2 << 20)

static pthread_mutex_t blocks_mutex = PTHREAD_MUTEX_INITIALIZER;
static void lock_blocks(void) { pthread_mutex_lock(&blocks_mutex); }
static void unlock_blocks(void) { pthread_mutex_unlock(&blocks_mutex); }
static int prepare_for_forks(void) { return pthread_atfork(lock_blocks, unlock_blocks, unlock_blocks); }

static void *map_pages(size_t bytes) {
  void *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return start == MAP_FAILED ? NULL : start;
}

/* Memory that begins at a multiple of a huge page and asks for huge pages: one fault and one TLB entry for 2 MB. */
static void *map_huge_pages(size_t bytes) {
  if (bytes + HUGE_PAGE < bytes) return NULL;
  char *start = map_pages(bytes + HUGE_PAGE);
  if (!start) return NULL;
  const size_t before = -(uintptr_t)start % HUGE_PAGE;
  if (before) munmap(start, before);
  munmap(start + before + bytes, HUGE_PAGE - before);
#ifdef MADV_HUGEPAGE
  madvise(start + before, bytes, MADV_HUGEPAGE);
#endif
  return start + before;
}

/* Small memory is cut from a huge page, so that all that a network keeps has few TLB entries. */
static void *map_memory(size_t bytes) {
  static char *rest;
  static size_t left;
  if (bytes >= HUGE_PAGE) return map_huge_pages(bytes);
  lock_blocks();
  if (left < bytes) {
    if (left) munmap(rest, left);
    rest = map_huge_pages(HUGE_PAGE);
    left = rest ? HUGE_PAGE : 0;
  }
  char *start = rest;
  if (rest) {
    rest += bytes;
    left -= bytes;
  }
  unlock_blocks();
  return start;
}

static void unmap_memory(void *start, size_t bytes) {
  ASAN_UNPOISON_MEMORY_REGION(start, bytes);
  munmap(start, bytes);
}

/* Of a block, so many bytes are in use. */
static void only_touch(void *start, size_t bytes, size_t of_block) {
  ASAN_POISON_MEMORY_REGION(start, of_block);
  ASAN_UNPOISON_MEMORY_REGION(start, bytes);
}
