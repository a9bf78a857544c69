#include "tests/backends/lxc_fixture.hpp"

#include <fcntl.h>
#include <stdexcept>
#include <sys/syscall.h>

namespace troupe::test {

unique_fd lxc_world::pidfd(pid_t pid) { return unique_fd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))}; }

std::string lxc_world::shell(pid_t leader, const std::string& script, int* status) const {
  int out[2];
  if (::pipe2(out, O_CLOEXEC) < 0) throw std::runtime_error{"pipe2"};
  unique_fd reader{out[0]};
  exec_plan plan;
  plan.command = {"sh", "-c", script};
  plan.environment = {{"PATH", "/bin:/sbin:/usr/bin"}};
  plan.stdio[0] = unique_fd{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
  plan.stdio[1] = unique_fd{out[1]};
  plan.stdio[2] = unique_fd{::open("/dev/null", O_WRONLY | O_CLOEXEC)};
  auto session = driver->exec("c1", leader, std::move(plan));
  if (!session) throw std::runtime_error{session.error().message};
  auto text = read_all(reader.get());
  if (!readable((*session)->done_fd())) throw std::runtime_error{"the command did not end"};
  auto code = (*session)->result();
  if (status) *status = code ? *code : -1;
  return text;
}

} // namespace troupe::test
