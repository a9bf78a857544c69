#include "runtime/memory.hpp"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

namespace troupe {

void tune_allocator() {
  // An arena per thread would keep what its thread freed; threads here mostly wait, so they hardly compete for two.
  ::mallopt(M_ARENA_MAX, 2);
  // Fixed, because glibc otherwise raises both after the first big block is freed, and then hardly gives back anything.
  ::mallopt(M_MMAP_THRESHOLD, 128 * 1024);
  ::mallopt(M_TRIM_THRESHOLD, 128 * 1024);
}

void drop_start_pages() {
  ::malloc_trim(0);
  ::dl_iterate_phdr(
      [](dl_phdr_info* object, size_t, void*) {
        auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
        for (const auto* part = object->dlpi_phdr; part != object->dlpi_phdr + object->dlpi_phnum; ++part) {
          if (part->p_type != PT_LOAD || (part->p_flags & PF_W) != 0) continue;
          auto first = (object->dlpi_addr + part->p_vaddr) & ~(page - 1);
          auto end = object->dlpi_addr + part->p_vaddr + part->p_memsz;
          static_cast<void>(::madvise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED));
        }
        return 0;
      },
      nullptr);
}

} // namespace troupe
