#include "backends/instance/agent/guest/power.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/reboot.h>
#include <unistd.h>

namespace troupe::guest {
namespace {

pid_t start_program(bool reboot) {
  pid_t pid = ::fork();
  if (pid != 0) return pid;
  reset_signals();
  ::setsid();
  if (int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC); nothing >= 0)
    for (int fd = 0; fd < 3; ++fd) ::dup2(nothing, fd);
  ::setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
  auto* what = reboot ? "reboot" : "poweroff";
  if (::access("/run/systemd/system", F_OK) == 0) ::execlp("systemctl", "systemctl", what, nullptr);
  ::execlp(what, what, nullptr);
  ::_exit(127);
}

} // namespace

kj::Promise<outcome<void>> go_down(kj::UnixEventPort& port, bool reboot) {
  auto pid = start_program(reboot);
  if (pid < 0) return outcome<void>{fail_errno(errno, "Cannot fork")};
  auto program = kj::heap<child>(port, pid);
  program->let_go();
  auto ended = program->ended();
  return ended
      .then([reboot](int status) -> outcome<void> {
        if (status == 0) return {};
        ::sync();
        if (::reboot(reboot ? RB_AUTOBOOT : RB_POWER_OFF) == 0) return {};
        return fail_errno(errno, "The machine cannot be shut down");
      })
      .attach(kj::mv(program));
}

} // namespace troupe::guest
