#include "backends/image/helper/confine.hpp"

#include <cerrno>
#include <cstddef>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <vector>

namespace troupe::unpack {
namespace {

#if defined(__x86_64__)
constexpr uint32_t this_machine = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t this_machine = AUDIT_ARCH_AARCH64;
#else
#error "Name the audit architecture of this machine"
#endif

constexpr int allowed[] = {
    // data
    SYS_read, SYS_pread64, SYS_write, SYS_pwrite64, SYS_lseek, SYS_ftruncate, SYS_sync_file_range, SYS_syncfs,
    SYS_close,
    // the tree below the root
    SYS_openat, SYS_openat2, SYS_mkdirat, SYS_mknodat, SYS_symlinkat, SYS_linkat, SYS_unlinkat, SYS_fchown,
    SYS_fchownat, SYS_fchmod, SYS_fchmodat, SYS_utimensat, SYS_fsetxattr, SYS_fstat, SYS_newfstatat, SYS_statx,
    // memory and the end
    SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_brk, SYS_futex, SYS_exit, SYS_exit_group,
    // what libraries ask in passing
    SYS_clock_gettime, SYS_getrandom, SYS_gettid, SYS_getpid, SYS_tgkill, SYS_rt_sigprocmask, SYS_rt_sigaction,
    SYS_rt_sigreturn, SYS_restart_syscall, SYS_sched_yield, SYS_sysinfo};

constexpr int allowed_to_receivers[] = {SYS_renameat2, SYS_fchdir, SYS_lsetxattr, SYS_lremovexattr};

constexpr int allowed_to_readers[] = {SYS_getdents64, SYS_readlinkat, SYS_flistxattr, SYS_fgetxattr, SYS_fcntl};

} // namespace

outcome<void> allow_file_calls_only(tree_access how) {
  std::vector<sock_filter> program{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, this_machine, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
  };
  auto allow = [&](int call) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(call), 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  };
  for (int call : allowed) allow(call);
  if (how == tree_access::read)
    for (int call : allowed_to_readers) allow(call);
  if (how == tree_access::receive) {
    for (int call : allowed_to_receivers) allow(call);
    // Of ioctl only the sharing of extents.
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 4));
    program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])));
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(FICLONERANGE), 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
    return fail_errno(errno, "Cannot confine the helper: seccomp");
  return {};
}

} // namespace troupe::unpack
