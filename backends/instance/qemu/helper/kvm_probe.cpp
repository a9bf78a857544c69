#include "backends/instance/qemu/helper/kvm_probe.hpp"

#ifdef __x86_64__

#include "messages/unique_fd.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace troupe::qemu {
namespace {

constexpr size_t memory_size = 1 << 20;
// Where things lie in the guest's memory.
constexpr uint64_t tables = 0x1000, code = 0x8000, data = 0x9000;
constexpr uint64_t far_data = 0x4000000000; // virtual, the same page as `data`; only a page table leads there
constexpr uint8_t answer_port = 0x5a;
constexpr uint32_t right_answer = 42;

// xmm0 = {6, 6, 6, 6}, times 7 through memory, and out with the lowest word.
constexpr uint8_t program[] = {
    0x48, 0xbb,        0x00, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00, // mov rbx, far_data
    0xb8, 0x06,        0x00, 0x00, 0x00,                               // mov eax, 6
    0x66, 0x0f,        0x6e, 0xc0,                                     // movd xmm0, eax
    0x66, 0x0f,        0x70, 0xc0, 0x00,                               // pshufd xmm0, xmm0, 0
    0x0f, 0x11,        0x03,                                           // movups [rbx], xmm0
    0x8b, 0x43,        0x0c,                                           // mov eax, [rbx + 12]
    0x6b, 0xc0,        0x07,                                           // imul eax, eax, 7
    0xe7, answer_port,                                                 // out answer_port, eax
    0xf4,                                                              // hlt
};

tl::unexpected<error> unusable(const std::string& why) {
  return fail(fault::unsupported, "/dev/kvm does not run virtual machines here: " + why);
}

struct mapping {
  void* at = MAP_FAILED;
  size_t size = 0;
  mapping(int fd, size_t bytes, int flags)
      : at{::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd, 0)}, size{bytes} {}
  mapping(const mapping&) = delete;
  ~mapping() {
    if (at != MAP_FAILED) ::munmap(at, size);
  }
};

void put_entry(uint8_t* memory, uint64_t table, uint64_t index, uint64_t target) {
  constexpr uint64_t present_and_writable = 3;
  uint64_t entry = target | present_and_writable;
  std::memcpy(memory + table + index * sizeof entry, &entry, sizeof entry);
}

/// Four levels of tables: one way to the code, where it is, and one to the data, at `far_data`.
void fill_memory(uint8_t* memory) {
  std::memcpy(memory + code, program, sizeof program);
  constexpr uint64_t page = 0x1000;
  auto table = [](uint64_t n) { return tables + n * page; };
  put_entry(memory, table(0), 0, table(1));
  put_entry(memory, table(1), 0, table(2));
  put_entry(memory, table(2), 0, table(3));
  put_entry(memory, table(3), code / page, code);
  put_entry(memory, table(1), (far_data >> 30) & 511, table(4));
  put_entry(memory, table(4), 0, table(5));
  put_entry(memory, table(5), 0, data);
}

bool enter_long_mode(int cpu) {
  kvm_sregs system{};
  if (::ioctl(cpu, KVM_GET_SREGS, &system) < 0) return false;
  kvm_segment flat{};
  flat.limit = ~0U;
  flat.present = flat.s = flat.g = 1;
  system.cs = flat;
  system.cs.type = 11; // code, readable
  system.cs.selector = 8;
  system.cs.l = 1;
  flat.type = 3; // data, writable
  flat.selector = 16;
  flat.db = 1;
  system.ds = system.es = system.fs = system.gs = system.ss = flat;
  system.cr3 = tables;
  system.cr4 = 1 << 5 | 1 << 9 | 1 << 10;               // PAE, SSE and its exceptions
  system.cr0 = 1U << 31 | 1 << 5 | 1 << 4 | 1 << 1 | 1; // paging, protection
  system.efer = 1 << 8 | 1 << 10;                       // long mode, active
  kvm_regs registers{};
  registers.rip = code;
  registers.rflags = 2;
  return ::ioctl(cpu, KVM_SET_SREGS, &system) >= 0 && ::ioctl(cpu, KVM_SET_REGS, &registers) >= 0;
}

/// All features of the host's, as QEMU would offer them.
void offer_features(int kvm, int cpu) {
  constexpr uint32_t entries_max = 256;
  std::vector<uint64_t> room((sizeof(kvm_cpuid2) + entries_max * sizeof(kvm_cpuid_entry2)) / sizeof(uint64_t) + 1);
  auto* features = reinterpret_cast<kvm_cpuid2*>(room.data());
  features->nent = entries_max;
  if (::ioctl(kvm, KVM_GET_SUPPORTED_CPUID, features) >= 0) ::ioctl(cpu, KVM_SET_CPUID2, features);
}

outcome<void> run(int cpu, kvm_run& state) {
  uint32_t answer = 0;
  for (;;) {
    if (::ioctl(cpu, KVM_RUN, 0) < 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      return unusable(std::strerror(errno));
    }
    if (state.exit_reason == KVM_EXIT_IO && state.io.port == answer_port) {
      std::memcpy(&answer, reinterpret_cast<char*>(&state) + state.io.data_offset, sizeof answer);
    } else if (state.exit_reason == KVM_EXIT_HLT) {
      if (answer == right_answer) return {};
      return unusable("a guest computes wrong");
    } else {
      return unusable("a guest ends with reason " + std::to_string(state.exit_reason));
    }
  }
}

} // namespace

outcome<void> probe_kvm() {
  ::alarm(1);
  unique_fd kvm{::open("/dev/kvm", O_RDWR | O_CLOEXEC)};
  if (!kvm) return unusable(std::strerror(errno));
  if (::ioctl(kvm.get(), KVM_GET_API_VERSION, 0) != KVM_API_VERSION) return unusable("another version");
  unique_fd machine{::ioctl(kvm.get(), KVM_CREATE_VM, 0)};
  if (!machine) return unusable(std::strerror(errno));
  ::ioctl(machine.get(), KVM_SET_TSS_ADDR, 0xfffbd000UL); // some processors want it
  mapping memory{-1, memory_size, MAP_SHARED | MAP_ANONYMOUS};
  if (memory.at == MAP_FAILED) return unusable(std::strerror(errno));
  fill_memory(static_cast<uint8_t*>(memory.at));
  kvm_userspace_memory_region region{};
  region.memory_size = memory_size;
  region.userspace_addr = reinterpret_cast<uint64_t>(memory.at);
  if (::ioctl(machine.get(), KVM_SET_USER_MEMORY_REGION, &region) < 0) return unusable(std::strerror(errno));
  unique_fd cpu{::ioctl(machine.get(), KVM_CREATE_VCPU, 0)};
  int state_size = ::ioctl(kvm.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
  if (!cpu || state_size < static_cast<int>(sizeof(kvm_run))) return unusable(std::strerror(errno));
  mapping state{cpu.get(), static_cast<size_t>(state_size), MAP_SHARED};
  if (state.at == MAP_FAILED) return unusable(std::strerror(errno));
  offer_features(kvm.get(), cpu.get());
  if (!enter_long_mode(cpu.get())) return unusable(std::strerror(errno));
  return run(cpu.get(), *static_cast<kvm_run*>(state.at));
}

} // namespace troupe::qemu

#else

#include <fcntl.h>
#include <unistd.h>

namespace troupe::qemu {

outcome<void> probe_kvm() {
  if (::access("/dev/kvm", R_OK | W_OK) == 0) return {};
  return fail(fault::unsupported, "There is no /dev/kvm");
}

} // namespace troupe::qemu

#endif
