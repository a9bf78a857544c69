// Confines and starts QEMU, which outlives whoever asked for it; see helper/start_order.hpp.
//   troupe-qemu probe              does /dev/kvm run virtual machines?
//   troupe-qemu start ORDER...     reports once QEMU has been executed
// The report (descriptor 1) is as in image/helper/report.hpp.

#include "backends/image/helper/report.hpp"
#include "backends/instance/lxc/proc_facts.hpp"
#include "backends/instance/qemu/helper/kvm_probe.hpp"
#include "backends/instance/qemu/helper/sandbox.hpp"
#include "backends/instance/qemu/helper/start_order.hpp"
#include "messages/unique_fd.hpp"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sched.h>
#include <string_view>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace troupe;
using namespace troupe::qemu;

namespace {

/// Users of their own: far above any range that is mapped or handed out, and no two machines that run share one, as no
/// two processes share their number.
constexpr uid_t first_identity = 0xff000000;
constexpr size_t sentence_max = 1000;

int tell(const outcome<void>& how) {
  if (!how) return unpack::report::failed(how.error()), 1;
  unpack::report{0}.done();
  return 0;
}

outcome<start_order> read_order(int count, char** words) {
  start_order order;
  auto groups = count > 1 ? std::atoi(words[1]) : -1;
  if (groups < 0 || count < groups + 3) return fail(fault::internal, "The order to start QEMU cannot be read");
  order.kvm = std::string_view{words[0]} == "kvm";
  order.groups.assign(words + 2, words + 2 + groups);
  order.command.assign(words + 2 + groups, words + count);
  if (!order.command[0].starts_with('/')) return fail(fault::internal, "QEMU's path is not absolute");
  return order;
}

outcome<void> enter_groups(const std::vector<std::string>& groups) {
  for (const auto& group : groups) {
    unique_fd file{::open((group + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC)};
    if (!file || ::write(file.get(), "0", 1) != 1) return fail_errno(errno, "Cannot enter " + group);
  }
  return {};
}

struct two_ends {
  unique_fd out, in;
};
outcome<two_ends> make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return fail_errno(errno, "Cannot make a pipe");
  two_ends ends{unique_fd{fds[0]}, unique_fd{fds[1]}};
  return ends;
}

outcome<void> note_process(pid_t pid) {
  auto boot = lxc::read_small("/proc/sys/kernel/random/boot_id");
  auto text = std::to_string(pid) + " " + std::to_string(lxc::read_proc(pid).start) + " " + boot;
  unique_fd file{::openat(directory_descriptor, pid_file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return fail_errno(errno, "Cannot write the machine's pid file");
  return {};
}

/// In the process that becomes QEMU; returns only on failure.
error become_qemu(const start_order& order, pid_t own_pid) {
  for (int fd : {directory_descriptor, output_descriptor}) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  auto confined = enter_sandbox({order.command[0], order.kvm, first_identity + static_cast<uid_t>(own_pid)});
  if (!confined) return confined.error();
  if (::dup2(output_descriptor, 1) < 0 || ::dup2(output_descriptor, 2) < 0)
    return fail_errno(errno, "Cannot set QEMU's output").value();
  std::vector<char*> argv;
  for (auto& word : order.command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  char locale[] = "LC_ALL=C", home[] = "HOME=/run", runtime[] = "XDG_RUNTIME_DIR=/run";
  char* environment[] = {locale, home, runtime, nullptr};
  ::execve(argv[0], argv.data(), environment);
  return fail_errno(errno, "Cannot run " + order.command[0]).value();
}

/// The number is the one that the host knows: in its own namespace the process is the first.
[[noreturn]] void run_child(const start_order& order, const two_ends& number, const two_ends& failure) {
  pid_t own_pid = 0;
  if (::read(number.out.get(), &own_pid, sizeof own_pid) != sizeof own_pid) ::_exit(1); // whoever noted us is gone
  auto why = become_qemu(order, own_pid);
  auto text = std::to_string(static_cast<int>(why.code)) + " " + why.message.substr(0, sentence_max);
  if (::write(failure.in.get(), text.data(), text.size()) < 0) ::_exit(2);
  ::_exit(1);
}

/// Until the child has become QEMU, which closes the pipe, or says why not.
outcome<void> await_execution(int failure, pid_t child) {
  std::array<char, sentence_max + 16> text{};
  ssize_t n = 0;
  do n = ::read(failure, text.data(), text.size() - 1);
  while (n < 0 && errno == EINTR);
  if (n == 0) return {};
  ::waitpid(child, nullptr, 0);
  char* rest = nullptr;
  auto code = std::strtol(text.data(), &rest, 10);
  return fail(static_cast<fault>(code), *rest == ' ' ? rest + 1 : "QEMU could not be started");
}

outcome<void> start(int count, char** words) {
  auto order = read_order(count, words);
  if (!order) return tl::unexpected{order.error()};
  if (auto done = enter_groups(order->groups); !done) return done;
  auto number = make_pipe(), failure = make_pipe();
  if (!number) return tl::unexpected{number.error()};
  if (!failure) return tl::unexpected{failure.error()};
  if (::unshare(CLONE_NEWPID) != 0) return fail_errno(errno, "Cannot make a PID namespace");
  pid_t child = ::fork();
  if (child < 0) return fail_errno(errno, "Cannot fork");
  if (child == 0) {
    number->in.reset();
    run_child(*order, *number, *failure);
  }
  failure->in.reset();
  number->out.reset();
  auto noted = note_process(child);
  if (noted && ::write(number->in.get(), &child, sizeof child) != sizeof child)
    noted = fail_errno(errno, "Cannot start QEMU");
  number->in.reset();
  if (!noted) return ::waitpid(child, nullptr, 0), noted;
  return await_execution(failure->out.get(), child);
}

} // namespace

int main(int argc, char** argv) {
  ::prctl(PR_SET_NAME, "troupe-qemu", 0, 0, 0);
  std::string_view verb = argc > 1 ? argv[1] : "";
  if (verb == "probe") return tell(probe_kvm());
  if (verb == "start") return tell(start(argc - 2, argv + 2));
  return 2;
}
