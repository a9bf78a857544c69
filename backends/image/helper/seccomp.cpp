#include "backends/image/helper/confine.hpp"
#include "backends/image/helper/confine_program.hpp"

#include <cerrno>
#include <cstddef>
#include <initializer_list>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sched.h>
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

constexpr int allowed_to_programs[] = {
    // files
    SYS_read,
    SYS_pread64,
    SYS_readv,
    SYS_preadv,
    SYS_preadv2,
    SYS_write,
    SYS_pwrite64,
    SYS_writev,
    SYS_pwritev,
    SYS_pwritev2,
    SYS_lseek,
    SYS_ftruncate,
    SYS_fallocate,
    SYS_fsync,
    SYS_fdatasync,
    SYS_sync_file_range,
    SYS_fadvise64,
    SYS_copy_file_range,
    SYS_openat,
    SYS_close,
    SYS_close_range,
    SYS_fstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_fstatfs,
    SYS_statfs,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_readlinkat,
    SYS_getdents64,
    SYS_fcntl,
    SYS_dup,
    SYS_dup3,
    SYS_pipe2,
    SYS_getcwd,
    // waiting
    SYS_ppoll,
    SYS_pselect6,
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_eventfd2,
    SYS_signalfd4,
    SYS_timerfd_create,
    SYS_timerfd_settime,
    SYS_nanosleep,
    SYS_clock_nanosleep,
    // memory, threads, the end
    SYS_mmap,
    SYS_munmap,
    SYS_mremap,
    SYS_mprotect,
    SYS_madvise,
    SYS_brk,
    SYS_futex,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_set_tid_address,
    SYS_membarrier,
    SYS_sched_getaffinity,
    SYS_sched_yield,
    SYS_execve,
    SYS_exit,
    SYS_exit_group,
    // what libraries ask in passing
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_gettimeofday,
    SYS_getrandom,
    SYS_gettid,
    SYS_getpid,
    SYS_getppid,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_getrusage,
    SYS_tgkill,
    SYS_rt_sigprocmask,
    SYS_rt_sigaction,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    SYS_restart_syscall,
    SYS_sysinfo,
    SYS_uname,
    SYS_prlimit64,
#if defined(__x86_64__)
    SYS_arch_prctl,
    SYS_open,
    SYS_stat,
    SYS_lstat,
    SYS_access,
    SYS_readlink,
    SYS_dup2,
    SYS_pipe,
    SYS_poll,
    SYS_select,
    SYS_epoll_wait,
    SYS_eventfd,
    SYS_time,
#endif
};

class filter {
public:
  filter()
      : program_{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
                 BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, this_machine, 1, 0),
                 BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
                 BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))} {}
  template <size_t Count>
  void allow(const int (&calls)[Count]) {
    for (int call : calls) answer(call, SECCOMP_RET_ALLOW);
  }
  /// If that argument, its lower half, has this value.
  void allow_with(int call, unsigned argument, std::initializer_list<unsigned long> values) {
    auto jump = static_cast<uint8_t>(2 * values.size() + 2);
    program_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(call), 0, jump));
    load(argument);
    for (auto value : values) {
      program_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(value), 0, 1));
      program_.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    }
    program_.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
  }
  /// If one of these bits of that argument is set.
  void allow_with_bit(int call, unsigned argument, uint32_t bits) {
    program_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(call), 0, 4));
    load(argument);
    program_.push_back(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1));
    program_.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    program_.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
  }
  void answer(int call, uint32_t what) {
    program_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(call), 0, 1));
    program_.push_back(BPF_STMT(BPF_RET | BPF_K, what));
  }
  outcome<void> install() {
    program_.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
    const sock_fprog whole{static_cast<unsigned short>(program_.size()), program_.data()};
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &whole) != 0)
      return fail_errno(errno, "Cannot confine the helper: seccomp");
    return {};
  }

private:
  void load(unsigned argument) {
    program_.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                static_cast<uint32_t>(offsetof(seccomp_data, args) + argument * sizeof(uint64_t))));
  }
  std::vector<sock_filter> program_;
};

} // namespace

outcome<void> allow_file_calls_only(tree_access how) {
  filter calls;
  calls.allow(allowed);
  if (how == tree_access::read) calls.allow(allowed_to_readers);
  if (how == tree_access::write) calls.allow_with(SYS_ioctl, 1, {FS_IOC_GETFLAGS, FS_IOC_SETFLAGS}); // turn_off_cow
  if (how == tree_access::receive) {
    calls.allow(allowed_to_receivers);
    calls.allow_with(SYS_ioctl, 1, {FICLONERANGE}); // the sharing of extents
  }
  return calls.install();
}

outcome<void> allow_program_calls_only() {
  filter calls;
  calls.allow(allowed_to_programs);
  calls.allow_with_bit(SYS_clone, 0, CLONE_THREAD);     // threads, no processes and no namespaces
  calls.answer(SYS_clone3, SECCOMP_RET_ERRNO | ENOSYS); // its flags cannot be seen: then clone is used
  calls.allow_with(SYS_prctl, 0, {PR_SET_NAME});        // the death signal stays
  return calls.install();
}

} // namespace troupe::unpack
